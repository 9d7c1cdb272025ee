"""One running completion: its tokens and text so far, and the rules by which it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tirgen.engine.protocol import Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What to generate; every value is valid and within the model's limits."""

    prompt: Sequence[int]
    max_tokens: int
    seed: int
    """0 to 2^32 - 1, the range of the engine's seed."""
    min_tokens: int = 0
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 is off."""
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    """Keep the stop string, or the text of the stop token, in the text."""
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    skip_special_tokens: bool = True


class SampledSequence:
    """Grows on the engine's thread and is read on the event loop's.

    `token_ids` and `logprobs` (of the model, before temperature and truncation) have the same
    length. `finish` and `failure` are written last: a reader that sees one of them can read all the
    rest.
    """

    def __init__(
        self,
        request: GenerationRequest,
        *,
        token_texts: list[bytes],
        eos: frozenset[int],
        progress: asyncio.Event,
        streaming: bool,
        weight_version: str,
    ) -> None:
        self.request = request
        self.weight_version = weight_version
        self.progress = progress
        """Set on the event loop at the end, and when `streaming` also after every token."""
        self.streaming = streaming
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.text = bytearray()
        self.readable = 0
        """Number of bytes of `text` that no stop string will remove."""
        self.finish: Finish | None = None
        self.stop_reason: str | int | None = None
        """The stop string or stop token id; None at the end of a turn, as in vLLM."""
        self.failure: str | None = None
        self.cancelled = False
        self._token_texts = token_texts
        self._eos = frozenset() if request.ignore_eos else eos
        self._stops = [(stop, stop.encode()) for stop in request.stop]
        self._ending = self._eos | request.stop_token_ids
        self._most = request.max_tokens
        longest = max((len(needle) for _, needle in self._stops), default=1)
        self._held = 0 if request.include_stop else longest - 1

    @property
    def done(self) -> bool:
        return self.finish is not None or self.failure is not None

    def feed(self, token: int, logprob: float) -> bool:
        """Add the next sampled token; true if it was the last. The rules are vLLM's."""
        self.logprobs.append(logprob)
        self.token_ids.append(token)
        count = len(self.token_ids)
        if token in self._ending and count >= self.request.min_tokens:
            if self.request.include_stop:
                self.text += self._token_texts[token]
            return self._end(Finish.STOP, None if token in self._eos else token)
        old = len(self.text)
        self.text += self._token_texts[token]
        if self._stops and count > self.request.min_tokens:
            stop = self._cut_at_stop(old)
            if stop is not None:
                return self._end(Finish.STOP, stop)
        if count >= self._most:
            return self._end(Finish.LENGTH, None)
        self.readable = max(self.readable, len(self.text) - self._held)
        return False

    def whole_text(self) -> str:
        """Invalid UTF-8 becomes the replacement character."""
        return self.text.decode("utf-8", "replace")

    def _cut_at_stop(self, old: int) -> str | None:
        """Search stop strings in the new bytes, and as far back as one can have started."""
        for stop, needle in self._stops:
            at = self.text.find(needle, max(0, old - len(needle) + 1))
            if at >= 0:
                del self.text[at + (len(needle) if self.request.include_stop else 0) :]
                return stop
        return None

    def _end(self, finish: Finish, stop_reason: str | int | None) -> bool:
        self.readable = len(self.text)
        self.stop_reason = stop_reason
        self.finish = finish
        return True
