"""The engine for hosted chat endpoints: messages in, text out, no token ids.

Hosted APIs cut the stop string off and do not say which one it was, or whether the turn simply
ended. So none is sent: the answer is streamed, and the stream closed at the first stop string.
What such a call cost is then an estimate (`Completion.prompt_tokens`: four characters a token;
`completion_tokens`: one a chunk); calls that run to their end carry the server's own count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tirgen.engine.chat_probe import CONTINUE_FIELDS, ChatDialect, faults_named, probe_chat
from tirgen.engine.errors import EngineMisconfigured, EngineRefused
from tirgen.engine.lane import Lane
from tirgen.engine.protocol import Completion, Finish, Prompt, Sampling
from tirgen.engine.retry import Transient
from tirgen.text import well_formed

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

CONTINUE = (
    "Continue your reply exactly where it stopped. Your words are appended to it as they are: "
    "repeat nothing and add no remark."
)
"""What the user says after an unfinished reply, where the server cannot continue one itself."""

_CHARACTERS_PER_TOKEN = 4


@dataclass(slots=True)
class _Heard:
    """A streamed answer so far."""

    text: str = ""
    finish: Finish | None = None
    stop_reason: str | None = None
    chunks: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ChatEngine:
    """Implements `Engine` over the official `openai` client."""

    renderer = None

    def __init__(self, client: AsyncOpenAI, lane: Lane, model: str, dialect: ChatDialect) -> None:
        self._client = client
        self._lane = lane
        self._model = model
        self.dialect = dialect

    @classmethod
    async def connect(cls, client: AsyncOpenAI, lane: Lane, model: str) -> Self:
        """Probe the endpoint first. Raises `EngineMisconfigured` when it cannot serve."""
        return cls(client, lane, model, await probe_chat(client, model))

    @property
    def model(self) -> str:
        return self._model

    @property
    def server(self) -> str:
        """The host, for provenance: hosted endpoints tell no version."""
        return f"chat/{self._client.base_url.host}"

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """Continue `prompt.reply`, or begin the turn. Raises as `Engine.complete` says."""
        request = self._request(prompt, sampling)
        heard, seconds = await self._lane.run(lambda: self._once(request, sampling.stop))
        said = sum(len(m["content"]) for m in request["messages"])
        assert heard.finish is not None
        return Completion(
            text=well_formed(heard.text),
            token_ids=(),
            logprobs=(),
            finish=heard.finish,
            stop_reason=heard.stop_reason,
            prompt_tokens=heard.prompt_tokens or said // _CHARACTERS_PER_TOKEN,
            completion_tokens=heard.completion_tokens or heard.chunks,
            seconds=seconds,
        )

    def _request(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        if sampling.top_k and not self.dialect.takes_top_k:
            raise EngineMisconfigured(
                f"{self.server} takes no top_k; set top_k = 0 in the sampling of this role."
            )
        extra: dict[str, Any] = {"top_k": sampling.top_k} if self.dialect.takes_top_k else {}
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        if prompt.reply:
            messages.append({"role": "assistant", "content": prompt.reply})
            if self.dialect.continues_reply:
                extra |= CONTINUE_FIELDS
            else:
                messages.append({"role": "user", "content": CONTINUE})
        request: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            self.dialect.limit_field: sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "extra_body": extra,
        }
        return request if sampling.seed is None else {**request, "seed": sampling.seed}

    async def _once(self, request: dict[str, Any], stops: Sequence[str]) -> _Heard:
        async with faults_named(self._client.api_key):
            stream = await self._client.chat.completions.create(
                **request, stream=True, stream_options={"include_usage": True}
            )
            async with stream:
                heard = await _listen(stream, stops)
        if heard.finish is None:
            raise Transient("The stream ended before the answer did.")
        return heard


async def _listen(stream: AsyncStream[ChatCompletionChunk], stops: Sequence[str]) -> _Heard:
    """Read to the end, or to the first stop string, which stays in the text."""
    heard = _Heard()
    async for chunk in stream:
        if chunk.usage is not None:
            heard.prompt_tokens = chunk.usage.prompt_tokens
            heard.completion_tokens = chunk.usage.completion_tokens
        for choice in chunk.choices:
            if choice.delta.content:
                heard.text += choice.delta.content
                heard.chunks += 1
            if choice.finish_reason is not None:
                heard.finish = _finish(choice.finish_reason)
        if (stopped := first_stop(heard.text, stops)) is not None:
            heard.text, heard.stop_reason = stopped
            heard.finish = Finish.STOP
            break
    return heard


def first_stop(text: str, stops: Sequence[str]) -> tuple[str, str] | None:
    """The text up to and with the stop string that is complete first, and that string."""
    ends = [(at + len(stop), stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not ends:
        return None
    end, stop = min(ends, key=lambda found: found[0])
    return text[:end], stop


def _finish(reason: str) -> Finish:
    if reason == "content_filter":
        raise EngineRefused("The provider's content filter cut the answer off.")
    if reason not in (Finish.STOP, Finish.LENGTH):
        raise Transient(f"The server broke the answer off (finish_reason {reason!r}).")
    return Finish(reason)
