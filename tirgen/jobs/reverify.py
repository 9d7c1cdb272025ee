"""The recipe of a re-verification: stored trajectories judged again by the verifier as it is now.

Nothing is committed on the way: it costs no inference, and a version that is half judged by one
verifier and half by another would be worth little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from storage.records import Ending, Program, Step, Trajectory, Verdict
from tirgen.jobs.boundary import guarded, where
from tirgen.jobs.limits import InternalErrorLimit
from tirgen.jobs.workers import for_each
from tirgen.tir.markup import render_step
from tirgen.verification import Verifier, extract_answer
from tirgen.verification.verdicts import compares_answers

AT_ONCE = 64
"""More than there are worker processes, so that none waits."""

Count = Callable[[int, int], None]
"""Told how many are done, and of how many."""


class Change(NamedTuple):
    """A trajectory that is judged otherwise now."""

    trajectory_id: str
    before: Verdict
    after: Verdict


async def reverify(rows: Sequence[Trajectory], count: Count) -> list[Trajectory]:
    """The rows with new final answers and verdicts, in their order.

    Rows that were never judged, because the machinery broke, stay so, and so do those that were
    judged by something else than their answer. Raises `VerifierUnavailable` and
    `TooManyInternalErrors`.
    """
    judged, limit = list(rows), InternalErrorLimit()
    done = iter(range(1, len(rows) + 1))
    async with Verifier() as strict, Verifier(require_box=False) as lenient:

        async def one(place: int) -> None:
            row = rows[place]
            verifier = lenient if is_lenient(row.program) else strict
            judged[place] = await guarded(_judged(row, verifier), partial(_broken, row))
            limit.look_at(judged[place])
            count(next(done), len(rows))

        await for_each(range(len(rows)), one, AT_ONCE)
    return judged


def is_lenient(program: Program) -> bool:
    """Others announce answers in ways of their own; ours are told to box them."""
    return program is Program.IMPORTED


def changes(before: Sequence[Trajectory], after: Sequence[Trajectory]) -> Iterator[Change]:
    """Where the same rows are right now and were wrong before, or the other way round."""
    for old, new in zip(before, after, strict=True):
        if old.verdict and new.verdict and old.verdict.correct != new.verdict.correct:
            yield Change(new.trajectory_id, old.verdict, new.verdict)


def response_text(steps: Sequence[Step]) -> str:
    """The whole response as it reads: thoughts, programs and outputs in their blocks."""
    return "".join(render_step(step.thought, step.action, step.observation) for step in steps)


async def _judged(row: Trajectory, verifier: Verifier) -> Trajectory:
    if row.verdict is None or not compares_answers(row.verdict):
        return row
    text = response_text(row.steps)
    answer = extract_answer(text, require_box=not is_lenient(row.program))
    verdict = await verifier.verify(row.problem.answer, text)
    return replace(row, final_answer=answer, verdict=verdict)


def _broken(row: Trajectory, error: Exception) -> Trajectory:
    return replace(
        row, final_answer=None, verdict=None, ending=Ending.INTERNAL_ERROR, error=where(error)
    )
