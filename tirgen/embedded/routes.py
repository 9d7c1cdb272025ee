"""The embedded engine over HTTP: the part of OpenAI's and vLLM's API that it supports.

No TLS, no rate limits, one model: it is meant for the loopback address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version

from aiohttp import web
from pydantic import TypeAdapter

from tirgen.embedded.admission import chat_generations, chat_prompt, completion_generations
from tirgen.embedded.batching import ContinuousBatchingEngine
from tirgen.embedded.control import Control, PauseSwitch
from tirgen.embedded.generation import GenerationRequest
from tirgen.embedded.json_api import ApiError, Json, answer, dump, parse
from tirgen.embedded.metrics import engine_metrics
from tirgen.embedded.requests import (
    ChatCompletionRequest,
    CompletionRequest,
    TokenizeChatRequest,
    TokenizeRequest,
)
from tirgen.embedded.responses import AnyRequest, CompletionResponse, SentChoice
from tirgen.sockets.aiohttp_guard import guarded
from tirgen.sockets.prometheus import exposition
from tirgen.sockets.rule import RequestHead, SocketRule, bearer, names_of

_WITH_MESSAGE = (400, 401, 403, 415)
"""Statuses of aiohttp errors whose message says more than the status."""
_MAX_BODY = 64 * 2**20
"""Most bytes of a request; a list of prompts as token ids can be long."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Routes:
    """The routes over one engine."""

    def __init__(
        self,
        engine: ContinuousBatchingEngine,
        *,
        model: str,
        api_key: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """`host` is the address at which the server listens."""
        self._engine = engine
        self._model = model
        self._switch = PauseSwitch()
        self._control = Control(engine, self._switch).routes()
        self._control_paths = {route.path for route in self._control}
        keys = (bearer(api_key),) if api_key else ()
        self._rule = SocketRule(names_of(host), keys, guards=self._needs_key)
        self._created = int(time.time())

    def application(self) -> web.Application:
        app = web.Application(
            middlewares=[_errors_as_json, guarded(self._rule)], client_max_size=_MAX_BODY
        )
        app.add_routes(
            [
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat_completions),
                web.get("/v1/models", self._models),
                web.get("/v1/models/{name:.+}", self._one_model),
                web.post("/tokenize", self._tokenize),
                web.get("/health", self._health),
                web.get("/version", self._version),
                web.get("/metrics", self._metrics),
                *self._control,
            ]
        )
        return app

    def _needs_key(self, head: RequestHead) -> bool:
        """Everything under /v1, as in vLLM, and the routes that replace weights."""
        return head.path in self._control_paths or head.path.startswith("/v1")

    async def _completions(self, http: web.Request) -> web.StreamResponse:
        request = await parse(http, CompletionRequest)
        self._check_model(request.model)
        return await self._generate(http, request, completion_generations(request, self._engine))

    async def _chat_completions(self, http: web.Request) -> web.StreamResponse:
        request = await parse(http, ChatCompletionRequest)
        self._check_model(request.model)
        return await self._generate(http, request, chat_generations(request, self._engine))

    async def _generate(
        self, http: web.Request, request: AnyRequest, generations: Sequence[GenerationRequest]
    ) -> web.StreamResponse:
        """Answer as soon as the server is not paused.

        When the client disconnects, aiohttp cancels this handler, which cancels the generations.
        """
        async with self._switch.running():
            progress, streaming = asyncio.Event(), bool(request.stream)
            choices = [
                SentChoice(index, self._engine.submit(generation, progress, streaming=streaming))
                for index, generation in enumerate(generations)
            ]
            reply = CompletionResponse(request, self._model, self._engine.vocabulary, choices)
            try:
                if streaming:
                    options = request.stream_options
                    usage = options is not None and options.include_usage
                    return await _stream(http, reply, choices, progress, usage=usage)
                while not all(choice.generation.done for choice in choices):
                    progress.clear()
                    await progress.wait()
                _raise_failures(choices)
                return answer(reply.whole())
            finally:
                for choice in choices:
                    self._engine.cancel(choice.generation)

    async def _models(self, http: web.Request) -> web.Response:
        return answer({"object": "list", "data": [self._card()]})

    async def _one_model(self, http: web.Request) -> web.Response:
        self._check_model(http.match_info["name"])
        return answer(self._card())

    def _card(self) -> Json:
        return {
            "id": self._model,
            "object": "model",
            "created": self._created,
            "owned_by": "tirgen-embedded",
            "root": self._model,
            "parent": None,
            "max_model_len": self._engine.config.context,
        }

    async def _tokenize(self, http: web.Request) -> web.Response:
        request = await parse(http, _TOKENIZE)
        self._check_model(request.model)
        if isinstance(request, TokenizeRequest):
            tokens = self._engine.vocabulary.encode(
                request.prompt, add_special_tokens=request.add_special_tokens
            )
        else:
            tokens = chat_prompt(request, self._engine)
        context = self._engine.config.context
        return answer({"count": len(tokens), "max_model_len": context, "tokens": tokens})

    async def _health(self, http: web.Request) -> web.Response:
        if self._engine.failure is not None:
            raise ApiError(self._engine.failure, status=503)
        return web.Response()

    async def _version(self, http: web.Request) -> web.Response:
        return answer({"version": version("tirgen")})

    async def _metrics(self, http: web.Request) -> web.Response:
        return web.Response(text=exposition(engine_metrics(self._engine, self._model)))

    def _check_model(self, name: str | None) -> None:
        if name is not None and name != self._model:
            raise ApiError(
                f"The model `{name}` does not exist; this server has `{self._model}`.",
                status=404,
                param="model",
            )


_TOKENIZE: TypeAdapter[TokenizeRequest | TokenizeChatRequest] = TypeAdapter(
    TokenizeRequest | TokenizeChatRequest
)


async def _stream(
    http: web.Request,
    reply: CompletionResponse,
    choices: Sequence[SentChoice],
    progress: asyncio.Event,
    *,
    usage: bool,
) -> web.StreamResponse:
    """Server-sent events: one per choice with new tokens, usage if requested, then `[DONE]`."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    response.headers["Cache-Control"] = "no-cache"
    await response.prepare(http)
    await _send(response, reply.opening())
    open_choices = list(choices)
    try:
        while open_choices:
            await progress.wait()
            progress.clear()
            chunks = [reply.new_chunk(choice) for choice in open_choices]
            await _send(response, [chunk for chunk in chunks if chunk is not None])
            _raise_failures(open_choices)
            open_choices = [choice for choice in open_choices if not choice.closed]
        if usage:
            await _send(response, [reply.usage_chunk()])
    except ApiError as refusal:  # the status line is sent: report it in the stream, as vLLM does
        await _send(response, [refusal.body()])
    await response.write(b"data: [DONE]\n\n")
    return response


async def _send(response: web.StreamResponse, chunks: Sequence[Json]) -> None:
    if chunks:
        await response.write(b"".join(b"data: %b\n\n" % dump(chunk) for chunk in chunks))


def _raise_failures(choices: Sequence[SentChoice]) -> None:
    for choice in choices:
        if choice.generation.failure is not None:
            raise ApiError(choice.generation.failure, status=503)


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Every refusal in one format, aiohttp's own included (no such path, body too large)."""
    try:
        return await handler(request)
    except ApiError as refusal:
        return answer(refusal.body(), refusal.status)
    except web.HTTPError as error:
        detail = error.text if error.status in _WITH_MESSAGE else f"{request.method} {request.path}"
        shaped = ApiError(f"{error.reason}: {detail}", status=error.status)
        return answer(shaped.body(), shaped.status)
