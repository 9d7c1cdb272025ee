"""Tokens that an actor has sampled and that are not yet part of a trajectory.

They are cut where a line ends, between two tokens, so that kept tokens are stored as sampled and no
text is tokenised again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from tirgen.engine.protocol import Completion, Prompt, Renderer


@dataclass(slots=True)
class Draft:
    """Sampled tokens in order, and as many log-probabilities."""

    renderer: Renderer
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    seconds: float = 0.0
    """How long the sampling took."""

    @property
    def text(self) -> str:
        return self.renderer.decode(self.ids)

    def add(self, completion: Completion) -> None:
        self.ids += completion.token_ids
        self.logprobs += completion.logprobs
        self.seconds += completion.seconds

    def after(self, prompt: Prompt) -> Prompt:
        """The prompt, followed by the draft."""
        return replace(
            prompt, reply=prompt.reply + self.text, token_ids=prompt.token_ids + self.ids
        )

    def take(self, size: int) -> Self:
        """Split off the first `size` tokens."""
        taken = type(self)(self.renderer, self.ids[:size], self.logprobs[:size], self.seconds)
        self.ids, self.logprobs, self.seconds = self.ids[size:], self.logprobs[size:], 0.0
        return taken

    def whole_lines(self, least: int, most: int) -> int:
        """The largest number of leading tokens, from `least` to `most`, that are whole lines.

        0 where no line ends there between two tokens.
        """
        return next((size for size in self._line_ends(most) if size >= least), 0)

    def size_through(self, text: str) -> int:
        """The smallest number of leading tokens that contain `text`; the draft contains it."""
        sizes = range(len(self.ids) + 1)
        return bisect_left(sizes, True, key=lambda n: text in self.renderer.decode(self.ids[:n]))

    def _line_ends(self, most: int) -> Iterator[int]:
        """Sizes of at most `most` tokens at which a line ends, the largest first."""
        text = self.renderer.decode(self.ids[:most])
        end = text.rfind("\n") + 1
        while end:
            size = self._size_of(end, most)
            if self._characters(size) == end:
                yield size
            end = text.rfind("\n", 0, end - 1) + 1

    def _size_of(self, characters: int, most: int) -> int:
        """The largest number of tokens, at most `most`, with at most this many characters."""
        sizes = range(min(most, len(self.ids)) + 1)
        return bisect_right(sizes, characters, key=self._characters) - 1

    def _characters(self, size: int) -> int:
        return len(self.renderer.decode(self.ids[:size]))
