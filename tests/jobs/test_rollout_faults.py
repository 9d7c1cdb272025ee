"""A round whose rows are made by hand: what happens when things go wrong, and how many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.journal import Journal
from storage.records import Ending, Problem, Program, Provenance, Trajectory
from tests.rows import PROVENANCE, row
from tirgen.engine.errors import EngineMisconfigured, EngineUnavailable
from tirgen.jobs.committed_rows import CommittedRows
from tirgen.jobs.idle import Pools
from tirgen.jobs.job import OUTAGE_ROWS, open_job
from tirgen.jobs.maker import Item, Judgement, Maker, RowInProgress, RunIdentity
from tirgen.jobs.progress import RolloutProgress, unwatched
from tirgen.jobs.rollout import sample_problems
from tirgen.jobs.rollout_config import RolloutConfig
from tirgen.jobs.rollout_plan import RolloutPlan
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.driver import UsageCounter

PROBLEMS = [Problem(problem_id=f"p{n}", source="s", question="q", answer="1") for n in range(30)]

Make = Callable[[Problem, int], Awaitable[Trajectory]]


class ByHand(Maker[Item]):
    """Makes what it is told to."""

    def __init__(self, by_hand: Make) -> None:
        super().__init__("d", RunIdentity("r", "h", "0", "e"))
        self._by_hand = by_hand

    async def make(self, item: Item, journal: Journal | None = None) -> Trajectory:
        return await self._by_hand(item.problem, item.attempt)

    def begin(self, item: Item) -> RowInProgress:
        raise NotImplementedError

    async def judge(self, item: Item, builder: TrajectoryBuilder, usage: UsageCounter) -> Judgement:
        raise NotImplementedError

    def provenance(self, item: Item) -> Provenance:
        return PROVENANCE


class Nothing:
    """A recipe that opens nothing and always has work."""

    def load(self, committed: CommittedRows) -> bool:
        return True

    async def open(self, stack: AsyncExitStack, identity: RunIdentity) -> Pools:
        return {}


def made(problem: Problem, attempt: int, ending: Ending = Ending.FINISHED) -> Trajectory:
    lost = None if ending.is_infrastructure else row(kept=True).verdict
    found = row(problem.problem_id, attempt, program=Program.ROLLOUT, ending=ending)
    return replace(found, verdict=lost, group_id=problem.problem_id, error="HTTP 502")


async def work(
    folder: Path, by_hand: Make, live: int = 8, samples: int = 2
) -> tuple[list[Trajectory], RolloutProgress]:
    store, config = Store(folder), RolloutConfig(dataset="d")
    progress = RolloutProgress(problems=len(PROBLEMS))
    plan = RolloutPlan(PROBLEMS, samples, None, len(PROBLEMS))
    maker = ByHand(by_hand)
    async with open_job(store, config, Nothing(), progress, unwatched, live=live) as job:

        async def make(problem: Problem, number: int) -> Trajectory | None:
            item = Item(problem=problem, program=Program.ROLLOUT, attempt=number)
            return await job.make_row(maker, item, plan.record)

        try:
            await sample_problems(job, plan, plan.due(), make, live)
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            names = {task.get_name() for task in left}
            assert names == {"commit queue", "looks at other calls", "idle ledger"}
    return list(job.run.read()), progress


async def test_every_attempt_is_made_and_committed_once(tmp_path: Path) -> None:
    async def make(problem: Problem, attempt: int) -> Trajectory:
        return made(problem, attempt)

    store, progress = await work(tmp_path, make)
    assert sorted(r.key for r in store) == sorted(
        (p.problem_id, "rollout", n) for p in PROBLEMS for n in range(2)
    )
    assert (progress.begun, progress.settled, progress.rollouts) == (30, 30, 60)


async def test_no_more_are_made_at_once_than_allowed_and_the_room_is_used(tmp_path: Path) -> None:
    busy = most = 0

    async def make(problem: Problem, attempt: int) -> Trajectory:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.001)
        busy -= 1
        return made(problem, attempt)

    await work(tmp_path, make, live=5)
    assert most == 5


async def test_a_slow_rollout_keeps_nobody_waiting(tmp_path: Path) -> None:
    last: list[str] = []
    others = asyncio.Event()

    async def make(problem: Problem, attempt: int) -> Trajectory:
        if problem.problem_id == "p0" and attempt == 0:
            await others.wait()
        last.append(problem.problem_id)
        if len(last) == 59:
            others.set()
        return made(problem, attempt)

    await work(tmp_path, make, live=4)
    assert last[-1] == "p0"
    assert len(last) == 60


@pytest.mark.parametrize("down", [Ending.ENGINE_ERROR, Ending.SANDBOX_ERROR, Ending.TIME_LIMIT])
async def test_what_is_down_ends_the_round_and_leaves_no_task_behind(
    tmp_path: Path, down: Ending
) -> None:
    async def make(problem: Problem, attempt: int) -> Trajectory:
        await asyncio.sleep(0.001 * attempt)
        return made(problem, attempt, down)

    with pytest.raises(EngineUnavailable, match=rf"{OUTAGE_ROWS} trajectories in a row .*502"):
        await work(tmp_path, make)


async def test_now_and_then_a_lost_rollout_ends_nothing(tmp_path: Path) -> None:
    async def make(problem: Problem, attempt: int) -> Trajectory:
        return made(problem, attempt, [Ending.FINISHED, Ending.ENGINE_ERROR][attempt])

    store, progress = await work(tmp_path, make, samples=2)
    assert len(store) == 60
    assert progress.infrastructure == 30


async def test_what_can_never_succeed_is_raised_at_once(tmp_path: Path) -> None:
    async def make(problem: Problem, attempt: int) -> Trajectory:
        if problem.problem_id == "p3":
            raise EngineMisconfigured("no such model")
        await asyncio.sleep(0.01)
        return made(problem, attempt)

    with pytest.raises(EngineMisconfigured, match="no such model"):
        await work(tmp_path, make)


async def test_a_row_that_the_store_cannot_hold_takes_no_other_along(tmp_path: Path) -> None:
    """Its place is taken by an internal error, and what finished with it is committed."""

    async def make(problem: Problem, attempt: int) -> Trajectory:
        found = made(problem, attempt)
        return replace(found, attempt=2**70) if problem.problem_id == "p3" else found

    store, progress = await work(tmp_path, make)
    broken = [each for each in store if each.ending is Ending.INTERNAL_ERROR]
    assert {each.problem.problem_id for each in broken} == {"p3"}
    assert (len(store), progress.internal_errors) == (60, 2)
    assert not any(each.kept for each in broken)
