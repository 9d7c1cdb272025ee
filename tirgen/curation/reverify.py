"""Stored trajectories judged again by the verifier as it is now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from storage.records import Program, Step, Trajectory, Verdict
from tirgen.tir.markup import render_step
from tirgen.verdicts import compares_answers
from tirgen.verification import Verifier, extract_answer

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
    judged by something else than their answer. Raises `VerifierUnavailable`.
    """
    gate = asyncio.Semaphore(AT_ONCE)
    done = iter(range(1, len(rows) + 1))
    async with Verifier() as strict, Verifier(require_box=False) as lenient:

        async def one(row: Trajectory) -> Trajectory:
            async with gate:
                judged = await _judged(row, lenient if is_lenient(row.program) else strict)
            count(next(done), len(rows))
            return judged

        return await asyncio.gather(*map(one, rows))


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
