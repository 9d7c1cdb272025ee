"""Works a round off: so many rollouts at once, each committed as it ends, counted, and watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from storage.records import Level, Problem, Trajectory
from tirgen.committer import Committer
from tirgen.outage import OutageWatch
from tirgen.rollouts.plan import Plan
from tirgen.tasks import first_error

Make = Callable[[], Awaitable[Trajectory]]


@dataclass(slots=True)
class Progress:
    """Live counts of a round; `watch` is called after each change."""

    wanted_groups: int | None
    """Mixed groups the round must hold; None where every problem is asked once."""
    problems: int
    """That there are."""
    reused_rows: int = 0
    begun: int = 0
    settled: int = 0
    mixed: int = 0
    rollouts: int = 0
    """Made by this call."""
    correct: int = 0
    branches: int = 0
    """Step-level samples made by this call."""
    branches_ran: int = 0
    failed_executions: int = 0
    infrastructure: int = 0
    tokens: int = 0
    """Sampled in this call, those that self-correction threw away included."""
    started: float = field(default_factory=time.monotonic)

    def count(self, row: Trajectory) -> None:
        step = row.level is Level.STEP
        self.branches += step
        self.branches_ran += step and row.reward == 1.0
        self.rollouts += not step
        self.correct += row.correct
        self.infrastructure += row.ending.is_infrastructure
        self.failed_executions += sum(
            call.outcome is not None and call.outcome.is_code_failure for call in row.calls
        )
        self.tokens += row.cost.actor_completion_tokens


Watch = Callable[[Progress], None]


class Crew:
    """Makes rows side by side; the slowest of them keeps nobody waiting."""

    def __init__(self, committer: Committer, progress: Progress, watch: Watch, live: int) -> None:
        self._committer = committer
        self._progress = progress
        self._watch = watch
        self._live = live
        self._slots = asyncio.Semaphore(live)
        self._outage = OutageWatch()

    async def row(self, make: Make) -> Trajectory:
        """One row, made when there is room and durable on return.

        Raises `EngineUnavailable` when every one of the last rows was lost to infrastructure.
        """
        async with self._slots:
            row = await make()
        await self._committer.add(row)
        self._progress.count(row)
        self._watch(self._progress)
        self._outage.look_at(row)
        return row

    async def rows(self, makes: Iterable[Make]) -> None:
        """All of them."""
        try:
            async with asyncio.TaskGroup() as group:
                for make in makes:
                    group.create_task(self.row(make))
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None

    async def work(
        self,
        plan: Plan,
        first: Problem | None,
        make: Callable[[Problem, int], Awaitable[Trajectory]],
    ) -> None:
        """Ask problem after problem, from `first` on, for as long as the plan wants more."""

        async def ask(problem: Problem) -> None:
            async def one(number: int) -> None:
                plan.record(await self.row(lambda: make(problem, number)))

            async with asyncio.TaskGroup() as attempts:
                for number in plan.missing(problem):
                    attempts.create_task(one(number))
            plan.settle(problem)
            self._note(plan, settled=1)

        problem, running = first, set[asyncio.Task[None]]()
        try:
            async with asyncio.TaskGroup() as group:
                while problem is not None or running:
                    while problem is not None and len(running) < self._live:
                        running.add(group.create_task(ask(problem)))
                        problem = plan.next()
                    _, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
                    problem = problem or plan.next()
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        self._note(plan)

    def _note(self, plan: Plan, settled: int = 0) -> None:
        self._progress.settled += settled
        self._progress.begun, self._progress.mixed = len(plan.asked), plan.mixed
        self._watch(self._progress)
