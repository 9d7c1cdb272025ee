"""Whether two questions ask the same: by words, shared character n-grams, and numbers.

Character n-grams also compare short questions, for which runs of 13 words say nothing. Templates
make different problems with the same wording, so questions with different numbers are the same only
if almost nothing else differs. MinHash proposes pairs; exact sets decide.

Not covered: translations, and paraphrases that share neither wording nor numbers.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # it imports scipy: almost a second that only two rules need
    from datasketch import MinHash, MinHashLSH

GRAM = 4
"""Characters of an n-gram."""
VERBATIM = 0.9
"""Similarity from which questions are the same although their numbers differ."""
PERMUTATIONS = 128
RECALL_MARGIN = 0.8
"""Pairs are proposed from this share of the wanted similarity on, so that few are missed."""

_NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty"""
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_NUMBERS.split())}
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|quad|qquad|(?:text|math)(?:rm|bf|it|bb|cal)?)\b"
    r"|\\[,;:!]|\$"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^]")


class ComparedQuestion(NamedTuple):
    """A question in the form that is compared."""

    words: tuple[str, ...]
    """Lower case, without layout commands and punctuation; numbers in digits."""
    grams: frozenset[str]
    numbers: Mapping[str, int]
    """How often each number occurs."""


def read(question: str) -> ComparedQuestion:
    """Normalise a question: letter case, Unicode forms, LaTeX layout, separators of thousands."""
    plain = _DRAWING.sub(" ", unicodedata.normalize("NFKC", question).casefold())
    plain = _THOUSANDS.sub("", _LAYOUT.sub(" ", re.sub(r"\\[dt]frac\b", r"\\frac", plain)))
    words = tuple(_NUMBER_WORDS.get(word, word) for word in _WORD.findall(plain))
    joined = " ".join(words)
    grams = {joined[at : at + GRAM] for at in range(max(1, len(joined) - GRAM + 1))}
    return ComparedQuestion(
        words, frozenset(grams), Counter(word for word in words if word[0].isdecimal())
    )


def resemblance(one: ComparedQuestion, other: ComparedQuestion) -> float:
    """Jaccard index of the character n-grams, 0 to 1."""
    return len(one.grams & other.grams) / len(one.grams | other.grams)


def same(one: ComparedQuestion, other: ComparedQuestion, least: float) -> float | None:
    """The similarity if the two ask the same, else None.

    With the same numbers in both, `least` is enough; otherwise `VERBATIM` is needed.
    """
    found = resemblance(one, other)
    confirmed = bool(one.numbers) and one.numbers == other.numbers
    return found if found >= (least if confirmed else max(least, VERBATIM)) else None


class SimilarQuestion(NamedTuple):
    """A question that asks the same."""

    name: str
    resemblance: float


@dataclass(slots=True)
class SimilarityIndex:
    """Finds questions that ask the same as a given one."""

    least: float
    """Similarity that is enough if the numbers agree."""
    _texts: dict[str, ComparedQuestion] = field(default_factory=dict)
    _lsh: MinHashLSH | None = None
    """Made for the first question: its import takes most of a second, and many stay empty."""

    def add(self, name: str, text: ComparedQuestion) -> None:
        if self._lsh is None:
            from datasketch import MinHashLSH

            self._lsh = MinHashLSH(threshold=self.least * RECALL_MARGIN, num_perm=PERMUTATIONS)
        self._texts[name] = text
        self._lsh.insert(name, _minhash(text.grams))

    def best(self, text: ComparedQuestion) -> SimilarQuestion | None:
        """The most similar question that asks the same; of equal ones the first by name."""
        if self._lsh is None:
            return None
        proposed: Iterable[str] = self._lsh.query(_minhash(text.grams))
        found = ((name, same(text, self._texts[name], self.least)) for name in proposed)
        matches = [SimilarQuestion(name, value) for name, value in found if value is not None]
        return min(matches, key=lambda match: (-match.resemblance, match.name), default=None)


def _minhash(grams: frozenset[str]) -> MinHash:
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([gram.encode() for gram in sorted(grams)])
    return sketch
