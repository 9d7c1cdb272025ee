"""Judges stored trajectories again with the present verifier.

Nothing is committed on the way: it costs no inference, and a version that is half judged by one
verifier and half by another would be of little use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from storage.records import Ending, Program, Trajectory, Verdict
from tirgen.jobs.job import InternalErrorLimit
from tirgen.jobs.maker import describe_error, guarded
from tirgen.jobs.workers import for_each
from tirgen.tir.markup import response_text
from tirgen.verification import Verifier, extract_answer
from tirgen.verification.verdicts import compares_answers

AT_ONCE = 64
"""More than there are worker processes, so that none waits."""

Count = Callable[[int, int], None]
"""Called with how many rows are done, and how many there are."""


class Change(NamedTuple):
    """A trajectory whose verdict changed."""

    trajectory_id: str
    before: Verdict
    after: Verdict


async def reverify(
    rows: Sequence[Trajectory], count: Count, exact_digits: int | None = None
) -> list[Trajectory]:
    """The rows with new final answers and verdicts, in the same order.

    Rows that were never judged, because the machinery broke, stay unchanged. So do rows that were
    judged by something else than their answer. `exact_digits` is that of `Verifier`. Raises
    `VerifierUnavailable` and `TooManyInternalErrors`.
    """
    judged, limit = list(rows), InternalErrorLimit()
    done = iter(range(1, len(rows) + 1))
    async with (
        Verifier(exact_digits=exact_digits) as strict,
        Verifier(exact_digits=exact_digits, require_box=False) as lenient,
    ):

        async def judge(place: int) -> None:
            row = rows[place]
            verifier = lenient if _is_lenient(row.program) else strict
            judged[place] = await guarded(_judged(row, verifier), partial(_broken, row))
            limit.check(judged[place])
            count(next(done), len(rows))

        await for_each(range(len(rows)), judge, AT_ONCE)
    return judged


def changes(before: Sequence[Trajectory], after: Sequence[Trajectory]) -> Iterator[Change]:
    """Where the same rows were right before and are wrong now, or the other way round."""
    for old, new in zip(before, after, strict=True):
        if old.verdict and new.verdict and old.verdict.correct != new.verdict.correct:
            yield Change(new.trajectory_id, old.verdict, new.verdict)


def _is_lenient(program: Program) -> bool:
    """Imported responses need no box; only tirgen's own prompts ask for one."""
    return program is Program.IMPORTED


async def _judged(row: Trajectory, verifier: Verifier) -> Trajectory:
    if row.verdict is None or not compares_answers(row.verdict):
        return row
    text = response_text(row.steps)
    answer = extract_answer(text, require_box=not _is_lenient(row.program))
    verdict = await verifier.verify(row.problem.answer, text)
    return replace(row, final_answer=answer, verdict=verdict)


def _broken(row: Trajectory, error: Exception) -> Trajectory:
    return replace(
        row,
        final_answer=None,
        verdict=None,
        ending=Ending.INTERNAL_ERROR,
        error=describe_error(error),
    )
