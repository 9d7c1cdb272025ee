"""How one text comes from another: runs of words kept, taken out and put in."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 4000
"""difflib takes time with the square of the words; longer texts are shown whole, old then new."""


class Segment(NamedTuple):
    """Neighbouring words of one kind."""

    kind: Literal["kept", "out", "in"]
    text: str


def differences(old: str, new: str) -> list[Segment]:
    """How `new` comes from `old`, word by word."""
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    if max(len(before), len(after)) > _MOST_WORDS:
        return [Segment("out", old), Segment("in", new)]
    runs: list[Segment] = []
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            runs.append(Segment("kept", "".join(before[i:j])))
        else:
            runs += [Segment("out", "".join(before[i:j])), Segment("in", "".join(after[k:m]))]
    return [run for run in runs if run.text]
