"""The engine for hosted chat endpoints: messages in, text out, no token ids.

Hosted APIs remove the stop string and do not say which one it was, or whether the turn simply
ended. So no stop string is sent: the answer is streamed, and the stream is closed at the first stop
string. The token counts of such a call are estimates (`Completion.prompt_tokens`: four characters
per token; `completion_tokens`: one per chunk); a call that runs to its end has the server's counts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlsplit

from storage.well_formed import well_formed
from tirgen.engine.chat_answer import ChatAnswer, EmptyAnswers, read
from tirgen.engine.dialect import Body, Continuation, Dialect, learn
from tirgen.engine.errors import ContextOverflow, EngineRefused, EngineUnavailable
from tirgen.engine.gate import Gate
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Answered, Pool, Replica
from tirgen.engine.protocol import Completion, Prompt, Sampling
from tirgen.engine.retry import PROBE_PATIENCE, Transient, unreachable

PATH = "/chat/completions"
CONTINUE = (
    "Continue your reply exactly where it stopped. Your words are appended to it as they are: "
    "repeat nothing and add no remark."
)
"""The user message after an unfinished reply, if the server cannot continue a reply."""

_QUESTION = {"role": "user", "content": "Count from one to ten."}
_REPLY = "One, two,"
_PROBE_TOKENS = 64
"""Some models refuse an output of a single token."""
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """The settings of one endpoint."""

    omit: frozenset[str] = frozenset()
    """Fields never sent."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields sent with every request."""
    thinking_tokens: int = 0
    """Added to the token limit of every request."""


class ChatEngine:
    """Implements `Engine` over `POST /v1/chat/completions`."""

    renderer = None

    def __init__(self, pool: Pool[JsonClient], model: str, options: ChatOptions) -> None:
        self.pool = pool
        self._model = model
        self._options = options
        self.dialect = Dialect(left_out=options.omit)
        self._learning = asyncio.Lock()
        self._taken: set[tuple[Dialect, frozenset[str]]] = set()
        """Dialects and fields with which the endpoint accepted its last request."""
        self._empty = EmptyAnswers(model)

    @classmethod
    async def connect(cls, pool: Pool[JsonClient], model: str, options: ChatOptions) -> Self:
        """Ask a test question first. Raises `EngineMisconfigured` when the endpoint cannot serve.

        Whether it accepts a field beyond these is learned from the first request with that field.
        """
        engine = cls(pool, model, options)
        fields = engine._fields(Sampling(max_tokens=_PROBE_TOKENS, temperature=0.6, seed=0))
        await engine._learn(engine.dialect, fields, _PROBE_TOKENS)
        engine.dialect = replace(engine.dialect, continuation=await engine._continuation())
        return engine

    @property
    def model(self) -> str:
        return self._model

    @property
    def server(self) -> str:
        """For provenance: the host (hosted endpoints have no version) and the refused fields."""
        left_out = f" without {', '.join(sorted(left))}" if (left := self.dialect.left_out) else ""
        hosts = dict.fromkeys(
            urlsplit(r.client.base_url).hostname or "" for r in self.pool.replicas
        )
        return f"chat/{', '.join(hosts)}{left_out}"

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """Continue `prompt.reply`, or start the turn. Raises as `Engine.complete` says."""
        body, (answer, seconds, replica) = await self._answered(prompt, sampling)
        if sampling.max_tokens >= _PROBE_TOKENS:
            self._empty.count(answer)
        characters = sum(len(message["content"]) for message in body["messages"])
        assert answer.finish is not None
        return Completion(
            text=well_formed(answer.text),
            token_ids=(),
            logprobs=(),
            finish=answer.finish,
            stop_reason=answer.stop_reason,
            prompt_tokens=answer.prompt_tokens or characters // _CHARACTERS_PER_TOKEN,
            completion_tokens=answer.completion_tokens or answer.chunks,
            seconds=seconds,
            replica=replica,
        )

    async def _answered(
        self, prompt: Prompt, sampling: Sampling
    ) -> tuple[Body, Answered[ChatAnswer]]:
        """The request as the endpoint accepted it, and its answer."""
        fields = self._fields(sampling)
        limit = sampling.max_tokens + self._options.thinking_tokens
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        while True:
            dialect = self.dialect
            continued = continuation_fields(messages, prompt.reply, dialect.continuation)
            body = {**dialect.shape(fields, limit), **continued}
            try:
                answered = await self._ask(self.pool, body, sampling.stop)
            except ContextOverflow:
                raise
            except EngineRefused:
                if not await self._learn(dialect, fields, limit):
                    raise
            else:
                self._taken.add((dialect, frozenset(fields)))
                return body, answered

    def _fields(self, sampling: Sampling) -> Body:
        """All fields except messages and token limit; neutral values are not sent."""
        fields: Body = {
            "model": self._model,
            "temperature": sampling.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._options.extra,
        }
        if sampling.top_p != 1.0:
            fields["top_p"] = sampling.top_p
        if sampling.top_k:
            fields["top_k"] = sampling.top_k
        if sampling.seed is not None:
            fields["seed"] = sampling.seed
        return fields

    async def _ask(
        self, pool: Pool[JsonClient], body: Body, stops: Sequence[str] = ()
    ) -> Answered[ChatAnswer]:
        data = json.dumps(body, separators=(",", ":")).encode()
        return await pool.run(lambda client: self._once(client, data, stops))

    async def _once(self, client: JsonClient, data: bytes, stops: Sequence[str]) -> ChatAnswer:
        async with client.events(PATH, data) as events:
            answer = await read(events, stops)
        if answer.finish is None:
            raise Transient("The stream ended before the answer did.")
        return answer

    async def _learn(self, used: Dialect, fields: Body, limit: int) -> bool:
        """Whether to send a request again that was refused in the dialect `used`.

        Yes if the dialect has changed, now or by another request in the meantime. If the endpoint
        accepted the previous request, or accepts a test question with the same fields, the refusal
        is about the prompt. Raises `EngineMisconfigured` if it refuses every dialect.
        """
        async with self._learning:
            if self.dialect != used:
                return True
            shape = (used, frozenset(fields))
            if shape in self._taken:
                self._taken.remove(shape)
                return False
            self.dialect = await learn(used, fields, limit, self._refusal)
            self._taken.add((self.dialect, frozenset(fields)))
            return self.dialect != used

    async def _refusal(self, body: Body) -> str | None:
        """The endpoint's message if it refuses the test question with these fields, else None."""
        try:
            await self._test({"messages": [_QUESTION], **body})
        except EngineRefused as error:
            return str(error)
        return None

    async def _test(self, body: Body) -> int:
        """Send a test request; the endpoint's count of prompt tokens, 0 if it gives none.

        Raises `EngineRefused`, and `EngineMisconfigured` if the endpoint cannot be reached.
        """
        clients = [replica.client for replica in self.pool.replicas]
        replicas = [Replica(client, Gate(1, PROBE_PATIENCE.pauses)) for client in clients]
        try:
            answer = await self._ask(Pool(replicas, PROBE_PATIENCE), body)
        except EngineUnavailable as error:
            raise unreachable(clients[0].base_url, error) from error
        return answer.result.prompt_tokens or 0

    async def _continuation(self) -> Continuation:
        """How the endpoint continues a reply.

        If it does, the prompt is shorter: it lacks the tokens that close a turn and open another.
        Counts that leave out cached tokens tell nothing.
        """
        shape = self.dialect.shape(self._fields(Sampling(max_tokens=_PROBE_TOKENS)), _PROBE_TOKENS)

        async def tokens(fields: Body) -> int | None:
            return await self._prompt_tokens({**shape, **fields})

        replied: Body = {"messages": [_QUESTION, _reply(_REPLY)]}
        plain = await tokens(replied)
        if not plain or await tokens(replied) != plain:
            return Continuation.ASKED
        if await self._is_open(plain, tokens):
            return Continuation.LAST
        for way in (Continuation.FINAL_MESSAGE, Continuation.PREFIX):
            opened = await tokens(continuation_fields([_QUESTION], _REPLY, way))
            if opened and opened < plain:
                return way
        return Continuation.ASKED

    async def _is_open(self, plain: int, tokens: Callable[[Body], Awaitable[int | None]]) -> bool:
        """Whether a reply without any flag, of `plain` tokens with the question, is continued.

        Then it takes no more tokens than the same words at the end of the question. The endpoint
        must also accept a reply that ends in white space: the replies of trajectories do.
        """
        longer = {**_QUESTION, "content": f"{_QUESTION['content']} {_REPLY}"}
        alone, same = await tokens({"messages": [_QUESTION]}), await tokens({"messages": [longer]})
        if not (alone and same and alone < plain <= same):
            return False
        return await tokens({"messages": [_QUESTION, _reply(f"{_REPLY}\n\n")]}) is not None

    async def _prompt_tokens(self, body: Body) -> int | None:
        try:
            return await self._test(body)
        except EngineRefused:
            return None


def continuation_fields(messages: list[Body], reply: str, way: Continuation) -> Body:
    """The fields that ask the endpoint to continue a reply; for an empty reply the messages."""
    if not reply:
        return {"messages": messages}
    last = _reply(reply)
    match way:
        case Continuation.FINAL_MESSAGE:
            flags = {"continue_final_message": True, "add_generation_prompt": False}
            return {"messages": [*messages, last], **flags}
        case Continuation.PREFIX:
            return {"messages": [*messages, {**last, "prefix": True}]}
        case Continuation.LAST:
            return {"messages": [*messages, last]}
        case Continuation.ASKED:
            return {"messages": [*messages, last, {"role": "user", "content": CONTINUE}]}


def _reply(text: str) -> Body:
    return {"role": "assistant", "content": text}
