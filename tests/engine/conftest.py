"""A tokenizer trained here and an HTTP server that speaks vLLM's protocol and breaks on order."""

import asyncio
import json
import random
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from tirgen.engine.gate import Pauses
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool
from tirgen.engine.probe import probe
from tirgen.engine.protocol import Message, Prompt
from tirgen.engine.renderer import HfRenderer
from tirgen.engine.retry import RetryPolicy
from tirgen.engine.tokens import TokenEngine

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
QUICK = RetryPolicy(max_tries=4, try_seconds=0.5, total_seconds=5, pauses=Pauses(first=0.01))

Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer with ChatML turns, as a model directory holds it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(token, special=True) for token in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(NUMBERS)], trainer)
    directory = tmp_path_factory.mktemp("model")
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (directory / "chat_template.jinja").write_text(CHATML)
    return directory


@pytest.fixture(scope="session")
def renderer(model_dir: Path) -> HfRenderer:
    return HfRenderer.load(model_dir)


CHAT = {"id": "c", "object": "chat.completion", "created": 0, "model": "tiny"}
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


class Peer:
    """Counts in words, greedily or by seed; `faults` are used up before it answers well."""

    def __init__(self, renderer: HfRenderer) -> None:
        self.renderer = renderer
        self.faults: deque[Fault] = deque()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.alter: Callable[[dict[str, Any]], None] = lambda choice: None
        """Called with every choice before it is sent, to spoil it."""
        self.known_fields: set[str] | None = None
        """None ignores unknown fields, as vLLM does."""
        self.refused_fields: set[str] = set()
        """By the chat endpoint."""
        self.pieces_sent = 0
        self.piece_seconds = 0.002
        self.honours_stop = True
        self.key: str | None = None
        self.in_flight = self.most_in_flight = 0
        self.delay = 0.0
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/version", self.version)
        app.router.add_post("/v1/completions", self.completions)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "9.9"})

    async def models(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            given = f"{request.headers.get('Authorization')} {request.path_qs} {request.query}"
            said = {"error": {"message": f"bad key {given}"}}
            return web.json_response(said, status=401)
        card = {"id": "tiny", "owned_by": "peer", "max_model_len": 512}
        return web.json_response({"object": "list", "data": [card]})

    async def completions(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if self.faults:
            return await self.faults.popleft()(request)
        if self.known_fields is not None and (unknown := set(body) - self.known_fields):
            return web.json_response({"error": {"message": f"unknown {unknown}"}}, status=400)
        await asyncio.sleep(self.delay)
        choice = self._choice(body)
        self.alter(choice)
        return web.json_response({"object": "text_completion", "choices": [choice]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """A hosted endpoint: stop strings are cut off and never named."""
        self.queries.append(dict(request.query))
        body = await request.json()
        self.requests.append(body)
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            said = {"error": {"message": f"bad key {request.headers.get('Authorization')}"}}
            return web.json_response(said, status=401)
        if body["model"] != "tiny":
            return web.json_response({"error": {"message": "no such model"}}, status=404)
        if self.faults:
            return await self.faults.popleft()(request)
        if refused := set(body) & self.refused_fields:
            return web.json_response({"error": {"message": f"unknown {refused}"}}, status=400)
        limit = body.get("max_tokens", body.get("max_completion_tokens"))
        words = " ".join(NUMBERS)
        pieces = re.findall(r".{1,3}", words)
        finish = "stop" if len(pieces) <= limit else "length"
        turns = len(body["messages"]) + (not body.get("continue_final_message"))
        usage = {"prompt_tokens": 10 * turns, "completion_tokens": min(len(pieces), limit)}
        usage["total_tokens"] = sum(usage.values())
        if body.get("stream"):
            return await self._stream(request, pieces[:limit], finish, usage)
        message = {"role": "assistant", "content": "".join(pieces[:limit])}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return web.json_response({**CHAT, "choices": [choice], "usage": usage})

    async def _stream(
        self, request: web.Request, pieces: list[str], finish: str, usage: dict[str, int]
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            for piece in pieces
        ]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        chunks.append({"choices": [], "usage": usage})
        for chunk in chunks:
            event = {**CHAT, "object": "chat.completion.chunk", **chunk}
            await answer.write(f"data: {json.dumps(event)}\n\n".encode())
            self.pieces_sent += 1
            await asyncio.sleep(self.piece_seconds)
        await answer.write(b"data: [DONE]\n\n")
        return answer

    def _choice(self, body: dict[str, Any]) -> dict[str, Any]:
        text, reason = self._said(body)
        ids = list(self.renderer.encode(text))
        finish = "stop" if reason or len(ids) < int(body["max_tokens"]) else "length"
        ids = ids[: int(body["max_tokens"])]
        if finish == "stop" and reason is None:
            ids.append(2)
        return {
            "index": 0,
            "text": self.renderer.decode(tuple(ids)),
            "token_ids": ids,
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": [-0.5] * len(ids)},
            "finish_reason": finish,
            "stop_reason": reason,
        }

    def _said(self, body: dict[str, Any]) -> tuple[str, str | None]:
        words = list(NUMBERS)
        if body["temperature"]:
            random.Random(body.get("seed")).shuffle(words)
        text = " ".join(words)
        for stop in body.get("stop", ()) if self.honours_stop else ():
            if stop in text:
                return text[: text.index(stop) + len(stop)], stop
        return text, None


@pytest.fixture
async def peer(renderer: HfRenderer) -> AsyncIterator[Peer]:
    peer = Peer(renderer)
    async with TestServer(peer.app()) as server:
        peer.url = str(server.make_url("/v1"))
        yield peer


@pytest.fixture
async def engine(peer: Peer, renderer: HfRenderer) -> AsyncIterator[TokenEngine]:
    """Connected to the peer, with short waits and eight slots."""
    client = JsonClient(peer.url, api_key=None, connections=8)
    async with client:
        found = await probe(client, "tiny", renderer)
        engine = TokenEngine(Pool.of(client, QUICK, 8), "tiny", renderer, found)
        peer.requests.clear()
        yield engine


@pytest.fixture
def prompt(renderer: HfRenderer) -> Prompt:
    messages = (Message("user", "Count."),)
    return Prompt(messages=messages, token_ids=renderer.prompt_ids(messages))
