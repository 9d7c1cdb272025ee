"""Makes one row: drives a program to its end, judges the result and records it, also on failure.

The kinds of rows differ in the program and in the judging; each kind is a subclass of `Maker`.
"""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from storage.journal import Journal
from storage.records import (
    Cost,
    Ending,
    FilterVerdict,
    Level,
    Problem,
    Program,
    Provenance,
    Step,
    Trajectory,
    Verdict,
    trajectory_id,
)
from tirgen.engine.errors import EngineError
from tirgen.engine.live_trajectory import Activity, LiveTrajectory
from tirgen.sandbox.contract import SandboxUnavailable
from tirgen.tir.builder import TrajectoryBuilder, build
from tirgen.tir.core import Loop
from tirgen.tir.driver import Driver, UsageCounter
from tirgen.tir.recall import Recall
from tirgen.verification import VerifierUnavailable

ENDS_THE_JOB = (EngineError, SandboxUnavailable, VerifierUnavailable, OSError)
"""Errors that the next row would meet too. They are raised, and a later call continues."""
_ROOT = Path(__file__).parents[2]
_MESSAGE_CHARACTERS = 200
"""How much of an exception's message is stored."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What every row of a run shares about its origin."""

    run_id: str
    config_hash: str
    code_version: str
    engine: str = ""
    """Name and version of the server that generates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One row to make. Its key is known before the row is made."""

    problem: Problem
    program: Program
    attempt: int
    level: Level = Level.TRAJECTORY
    group_id: str | None = None
    """Default: the problem's id."""

    @property
    def group(self) -> str:
        return self.group_id or self.problem.problem_id

    @property
    def key(self) -> tuple[str, str, int]:
        """The same as `Trajectory.key` of the row."""
        return (self.group, self.program.value, self.attempt)


class RowInProgress(NamedTuple):
    """One row in the making."""

    builder: TrajectoryBuilder
    loop: Loop[Ending]
    driver: Driver


class Judgement(NamedTuple):
    """What judging a finished row found."""

    verdict: Verdict | None
    """None where nothing could be judged."""
    final_answer: str | None = None


ItemT = TypeVar("ItemT", bound=Item)


class Maker(ABC, Generic[ItemT]):
    """Makes the rows of one run. Many tasks may use it at the same time."""

    def __init__(self, dataset: str, identity: RunIdentity) -> None:
        self.dataset = dataset
        self.identity = identity

    @abstractmethod
    def begin(self, item: ItemT) -> RowInProgress:
        """The program to drive and the driver that answers it."""

    @abstractmethod
    async def judge(
        self, item: ItemT, builder: TrajectoryBuilder, usage: UsageCounter
    ) -> Judgement:
        """Judge the finished trajectory. Changes its ending where the judging itself failed."""

    @abstractmethod
    def provenance(self, item: ItemT) -> Provenance:
        """Everything needed to make the row again."""

    async def finish(self, row: Trajectory) -> Trajectory:
        """Add what is computed from the whole row; by default nothing."""
        return row

    @asynccontextmanager
    async def prepared(self, item: ItemT) -> AsyncIterator[RowInProgress]:
        """The sample, together with what is open only for it."""
        yield self.begin(item)

    def id_of(self, item: ItemT) -> str:
        """The id of the item's row."""
        return trajectory_id(self.dataset, self.identity.config_hash, item.key)

    async def make(self, item: ItemT, journal: Journal | None = None) -> Trajectory:
        """Make one row. An error that this code did not foresee becomes the row's ending.

        Replies of engines that are in `journal` are not paid for again, and new ones are kept
        there. Raises `ENDS_THE_JOB`.
        """
        usage, steps = UsageCounter(), list[Step]()

        async def attempt() -> Trajectory:
            async with self.prepared(item) as sample:
                nonlocal steps
                steps = sample.builder.steps
                loop, recall = build(sample.builder, sample.loop), None
                if journal and sample.driver.engines:  # a program alone costs nothing
                    recall = Recall(journal.of(self.id_of(item)), self.provenance(item))
                await sample.driver.drive(loop, usage, recall)
                with LiveTrajectory.current().at(Activity.VERIFIER):
                    judgement = await self.judge(item, sample.builder, usage)
            return await self.finish(self._finished(item, sample.builder, judgement, usage))

        return await guarded(attempt(), lambda error: self.broken(item, usage.cost(), error, steps))

    def broken(
        self, item: ItemT, cost: Cost, error: Exception, steps: Iterable[Step] = ()
    ) -> Trajectory:
        """The row of an item on which tirgen itself failed, with the steps it had."""
        reason = describe_error(error)
        return self._row(
            item,
            cost,
            steps=tuple(steps),
            final_answer=None,
            ending=Ending.INTERNAL_ERROR,
            error=reason,
            verdict=None,
            filters=(FilterVerdict(rule="infrastructure", kept=False, reason=reason),),
        )

    def _finished(
        self, item: ItemT, builder: TrajectoryBuilder, judgement: Judgement, usage: UsageCounter
    ) -> Trajectory:
        return self._row(
            item,
            usage.cost(),
            steps=tuple(builder.steps),
            final_answer=judgement.final_answer,
            ending=builder.ending,
            error=builder.error,
            verdict=judgement.verdict,
            tokens=builder.transcript.stream(),
            replicas=tuple(usage.replicas),
        )

    def _row(
        self, item: ItemT, cost: Cost, replicas: tuple[str, ...] = (), **found: Any
    ) -> Trajectory:
        provenance = self.provenance(item)
        if replicas:
            engine = f"{provenance.engine} at {', '.join(replicas)}"
            provenance = replace(provenance, engine=engine)
        return Trajectory(
            trajectory_id=self.id_of(item),
            dataset=self.dataset,
            program=item.program,
            attempt=item.attempt,
            problem=item.problem,
            level=item.level,
            group_id=item.group,
            provenance=provenance,
            cost=cost,
            created_at=time.time(),
            **found,
        )


async def guarded(
    row: Awaitable[Trajectory], broken: Callable[[Exception], Trajectory]
) -> Trajectory:
    """The row, or what `broken` returns for an unforeseen exception. Raises `ENDS_THE_JOB`.

    Models and data can contain any text, and no review finds every text that breaks some line.
    """
    try:
        return await row
    except ENDS_THE_JOB:
        raise
    except Exception as error:  # noqa: BLE001
        return broken(error)


def describe_error(error: Exception) -> str:
    """Type and message of an exception, and the deepest line of tirgen in its traceback."""
    frames = [
        (Path(frame.f_code.co_filename), line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [place for place in frames if place[0].is_relative_to(_ROOT / "tirgen")]
    place = ""
    if own:
        path, line, name = own[-1]
        place = f" in {path.relative_to(_ROOT)}:{line} ({name})"
    message = str(error)[:_MESSAGE_CHARACTERS]
    text = f"internal error of tirgen: {type(error).__name__}{place}: {message}"
    return text.removesuffix(": ")
