"""A crew whose rows are made by hand: what happens when things go wrong, and how many at once."""

import asyncio
from dataclasses import replace

import pytest
from rows import row

from storage.records import Ending, Problem, Program, Trajectory
from tirgen.engine.errors import EngineMisconfigured, EngineUnavailable
from tirgen.jobs.committer import Committer
from tirgen.jobs.limits import OUTAGE_ROWS
from tirgen.jobs.rollout_plan import Plan
from tirgen.rollouts.crew import Crew, Progress

PROBLEMS = [Problem(problem_id=f"p{n}", source="s", question="q", answer="1") for n in range(30)]


def made(problem: Problem, attempt: int, ending: Ending = Ending.FINISHED) -> Trajectory:
    lost = None if ending.is_infrastructure else row(kept=True).verdict
    found = row(problem.problem_id, attempt, program=Program.ROLLOUT, ending=ending)
    return replace(found, verdict=lost, group_id=problem.problem_id, error="HTTP 502")


async def work(make, live: int = 8, samples: int = 2) -> tuple[list[Trajectory], Progress]:
    store: list[Trajectory] = []
    progress = Progress(wanted_groups=None, problems=len(PROBLEMS))
    plan = Plan(PROBLEMS, samples, None, len(PROBLEMS))
    async with Committer(store.extend, seconds=0.001) as committer:
        crew = Crew(committer, progress, lambda progress: None, live)
        try:
            await crew.work(plan, plan.next(), make)
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert {task.get_name() for task in left} == {"committer"}
    return store, progress


async def test_every_attempt_is_made_and_committed_once():
    async def make(problem, attempt):
        return made(problem, attempt)

    store, progress = await work(make)
    assert sorted(r.key for r in store) == sorted(
        (p.problem_id, "rollout", n) for p in PROBLEMS for n in range(2)
    )
    assert (progress.begun, progress.settled, progress.rollouts) == (30, 30, 60)


async def test_no_more_are_made_at_once_than_allowed_and_the_room_is_used():
    busy = most = 0

    async def make(problem, attempt):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.001)
        busy -= 1
        return made(problem, attempt)

    await work(make, live=5)
    assert most == 5


async def test_a_slow_rollout_keeps_nobody_waiting():
    last: list[str] = []

    async def make(problem, attempt):
        if problem.problem_id == "p0" and attempt == 0:
            await asyncio.sleep(0.3)
        last.append(problem.problem_id)
        return made(problem, attempt)

    await work(make, live=4)
    assert last[-1] == "p0"
    assert len(last) == 60


@pytest.mark.parametrize("down", [Ending.ENGINE_ERROR, Ending.SANDBOX_ERROR, Ending.TIME_LIMIT])
async def test_what_is_down_ends_the_round_and_leaves_no_task_behind(down):
    async def make(problem, attempt):
        await asyncio.sleep(0.001 * attempt)
        return made(problem, attempt, down)

    with pytest.raises(EngineUnavailable, match=f"{OUTAGE_ROWS} trajectories in a row .*502"):
        await work(make)


async def test_now_and_then_a_lost_rollout_ends_nothing():
    async def make(problem, attempt):
        return made(problem, attempt, [Ending.FINISHED, Ending.ENGINE_ERROR][attempt])

    store, progress = await work(make, samples=2)
    assert len(store) == 60
    assert progress.infrastructure == 30


async def test_what_can_never_succeed_is_raised_at_once():
    async def make(problem, attempt):
        if problem.problem_id == "p3":
            raise EngineMisconfigured("no such model")
        await asyncio.sleep(0.01)
        return made(problem, attempt)

    with pytest.raises(EngineMisconfigured, match="no such model"):
        await work(make)
