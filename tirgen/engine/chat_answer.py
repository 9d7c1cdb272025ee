"""Reads a streamed chat answer up to the first stop string, in the formats of many endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tirgen.engine.errors import EngineMisconfigured, EngineRefused
from tirgen.engine.protocol import Finish
from tirgen.engine.retry import Transient

_FIRST_ANSWERS = 4
"""After this many answers, at most half of all answers can be empty."""


@dataclass(slots=True)
class ChatAnswer:
    """The answer so far."""

    text: str = ""
    reasoning: str = ""
    """The model's thinking, if the endpoint sends it."""
    finish: Finish | None = None
    stop_reason: str | None = None
    chunks: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


async def read(batches: AsyncIterator[list[Any]], stops: Sequence[str]) -> ChatAnswer:
    """The answer up to its end or the first stop string, which stays in the text."""
    answer = ChatAnswer()
    longest = max(map(len, stops), default=0)
    async for events in batches:
        searched = max(0, len(answer.text) - longest)  # no stop string ends before that
        before = answer.chunks
        try:
            for event in events:
                _take(answer, event)
        except (AttributeError, KeyError, TypeError) as error:
            raise Transient(f"The answer could not be read ({error!r}).") from error
        if (stopped := first_stop(answer.text[searched:], stops)) is not None:
            text = answer.text
            kept, answer.stop_reason = stopped
            answer.text = text[:searched] + kept
            answer.finish = Finish.STOP
            # the chunks of this batch are about equally long
            beyond = (len(text) - len(answer.text)) / max(1, len(text) - searched)
            answer.chunks -= int((answer.chunks - before) * beyond)
            break
    return answer


def _take(answer: ChatAnswer, event: Any) -> None:
    if usage := event.get("usage"):
        answer.prompt_tokens = usage.get("prompt_tokens")
        answer.completion_tokens = usage.get("completion_tokens")
    for choice in event.get("choices") or ():
        part = choice.get("delta") or choice.get("message") or {}
        text, thought = _text_and_thinking(part.get("content"))
        answer.text += text
        thought = thought or part.get("reasoning_content") or part.get("reasoning") or ""
        answer.reasoning += thought
        answer.chunks += bool(part)
        if reason := choice.get("finish_reason"):
            answer.finish = _finish(reason)


def _text_and_thinking(content: Any) -> tuple[str, str]:
    """From a string, or from a list of typed parts."""
    if isinstance(content, list):
        text = "".join(str(part.get("text") or "") for part in content)
        return text, "".join(str(part["thinking"]) for part in content if part.get("thinking"))
    return content or "", ""


def first_stop(text: str, stops: Sequence[str]) -> tuple[str, str] | None:
    """The text up to and including the stop string that ends first, and that string."""
    ends = [(at + len(stop), stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not ends:
        return None
    end, stop = min(ends, key=lambda found: found[0])
    return text[:end], stop


_FINISHES = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "length": Finish.LENGTH,
    "model_length": Finish.LENGTH,
}
"""OpenAI's values, and those of Together (eos), TGI (eos_token, stop_sequence) and Mistral."""


def _finish(reason: str) -> Finish:
    if reason == "content_filter":
        raise EngineRefused("The provider's content filter cut the answer off.")
    if reason not in _FINISHES:
        raise Transient(f"The server broke the answer off (finish_reason {reason!r}).")
    return _FINISHES[reason]


class EmptyAnswers:
    """Notices a model that uses its whole token limit for thinking and answers nothing."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._answers = self._empty = 0

    def count(self, answer: ChatAnswer) -> None:
        """Raises `EngineMisconfigured` when most answers were empty, since each of them costs."""
        self._answers += 1
        self._empty += answer.finish is Finish.LENGTH and not answer.text.strip()
        if self._answers < _FIRST_ANSWERS or 2 * self._empty <= self._answers:
            return
        thought = " after thinking that is not part of the answer" if answer.reasoning else ""
        raise EngineMisconfigured(
            f"{self._empty} of {self._answers} answers of {self._model} reached their token limit "
            f"without any text{thought}: the model needs more tokens to think. Set "
            "`thinking_tokens` of this engine, for example to 4096, or turn its thinking off with "
            "`extra`."
        )
