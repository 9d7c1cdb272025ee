"""Checks that the critic changed text only where it wrote a program (method A11).

The actor's drafts and the stored thoughts are compared sentence by sentence. A difference is
allowed only at a program. No sentence that computes nothing may be lost. A program may add one
sentence: the task before it and the result after it replace one claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from storage.records import Step

_END = re.compile(r"(?<=[.!?])\s+|\n+")
_COMPUTES = re.compile(r"[\d=+*/^<>\\]")
_PROGRAM = "\x00"
"""Marks a program among the sentences; no sentence equals it."""
_SHOWN = 80
"""Characters of a sentence to quote."""


def changed_beyond_programs(steps: Sequence[Step], *, complete: bool) -> str | None:
    """The first change that no program explains, and how many there are; None if there is none.

    `complete` means that the drafts are all of the actor's text; otherwise additions are not
    judged. A trajectory without drafts was not rewritten.
    """
    drafted = [sentence for step in steps for sentence in _sentences(step.draft or "")]
    if not drafted:
        return None
    stored = [item for step in steps for item in _stored(step)]
    changes = list(_changes(drafted, stored, complete))
    if not changes:
        return None
    more = f", and {len(changes) - 1} more" if len(changes) > 1 else ""
    return f"the critic {changes[0]}{more}"


def _changes(drafted: list[str], stored: list[str], complete: bool) -> Iterator[str]:
    matcher = SequenceMatcher(None, drafted, stored, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            continue
        before, after = drafted[i:j], [item for item in stored[k:m] if item != _PROGRAM]
        programs = m - k - len(after)
        lost = [sentence for sentence in before if not programs or not _COMPUTES.search(sentence)]
        yield from (f"lost {_quoted(sentence)}" for sentence in lost)
        if not lost and complete and len(after) > len(before) + programs:
            yield f"added {_quoted(after[-1])}"


def _stored(step: Step) -> Iterator[str]:
    yield from _sentences(step.thought)
    if step.action is not None:
        yield _PROGRAM


def _sentences(text: str) -> Iterator[str]:
    return (sentence for part in _END.split(text) if (sentence := part.strip()))


def _quoted(sentence: str) -> str:
    return repr(sentence if len(sentence) <= _SHOWN else f"{sentence[:_SHOWN]}...")
