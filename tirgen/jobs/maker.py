"""Makes one row: a program driven to its end, judged and put on record, whatever becomes of it.

The kinds of rows differ in the program that is driven and in who judges; each is a subclass with
those parts. Here is what all of them share.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

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
from tirgen.jobs.boundary import guarded, where
from tirgen.tir.core import Loop
from tirgen.tir.driver import Driver, Meter
from tirgen.tir.story import Story, tell


@dataclass(frozen=True, slots=True)
class Identity:
    """What every row of a run shares about where it came from."""

    run_id: str
    config_hash: str
    code_version: str
    engine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One row to make, known by its key before anything of it is."""

    problem: Problem
    program: Program
    attempt: int
    level: Level = Level.TRAJECTORY
    group_id: str | None = None
    """By default the problem."""

    @property
    def group(self) -> str:
        return self.group_id or self.problem.problem_id

    @property
    def key(self) -> tuple[str, str, int]:
        """As `Trajectory.key`."""
        return (self.group, self.program.value, self.attempt)


class Sample(NamedTuple):
    """One row in the making."""

    story: Story
    loop: Loop[Ending]
    driver: Driver


class Judgement(NamedTuple):
    """What is found of a row once it has ended."""

    verdict: Verdict | None
    """None where there was nothing to judge."""
    final_answer: str | None = None


ItemT = TypeVar("ItemT", bound=Item)


class Maker(ABC, Generic[ItemT]):
    """Makes the rows of one run; safe to use from many tasks at once."""

    def __init__(self, dataset: str, identity: Identity) -> None:
        self.dataset = dataset
        self.identity = identity

    @abstractmethod
    def begin(self, item: ItemT) -> Sample:
        """The program to drive and who answers it."""

    @abstractmethod
    async def judge(self, item: ItemT, story: Story, meter: Meter) -> Judgement:
        """Judge what the program came to; may change the ending where the judging broke."""

    @abstractmethod
    def provenance(self, item: ItemT) -> Provenance:
        """Everything needed to make the row again."""

    async def finish(self, row: Trajectory) -> Trajectory:
        """Add what is found out from the whole row; by default nothing."""
        return row

    @asynccontextmanager
    async def prepared(self, item: ItemT) -> AsyncIterator[Sample]:
        """The sample, with what is open only for it."""
        yield self.begin(item)

    async def make(self, item: ItemT) -> Trajectory:
        """One row, whatever becomes of it.

        Raises what ends the job: `EngineMisconfigured`, `VerifierUnavailable`, OSError. Anything
        else that this code did not foresee is the row's ending, never the policy's fault.
        """
        meter, told = Meter(), list[Step]()

        async def attempt() -> Trajectory:
            async with self.prepared(item) as sample:
                nonlocal told
                told = sample.story.steps
                await sample.driver.drive(tell(sample.story, sample.loop), meter)
                judgement = await self.judge(item, sample.story, meter)
            return await self.finish(self._ended(item, sample.story, judgement, meter))

        return await guarded(attempt(), lambda error: self.broken(item, meter.cost(), error, told))

    def broken(
        self, item: ItemT, cost: Cost, error: Exception, steps: Iterable[Step] = ()
    ) -> Trajectory:
        """The row of an item on which tirgen itself failed, as far as it had come."""
        return self._row(
            item,
            cost,
            steps=tuple(steps),
            final_answer=None,
            ending=Ending.INTERNAL_ERROR,
            error=where(error),
            verdict=None,
            filters=(FilterVerdict(rule="infrastructure", kept=False, reason=where(error)),),
        )

    def _ended(self, item: ItemT, story: Story, judgement: Judgement, meter: Meter) -> Trajectory:
        return self._row(
            item,
            meter.cost(),
            steps=tuple(story.steps),
            final_answer=judgement.final_answer,
            ending=story.ending,
            error=story.error,
            verdict=judgement.verdict,
            tokens=story.transcript.stream(),
        )

    def _row(self, item: ItemT, cost: Cost, **found: Any) -> Trajectory:
        return Trajectory(
            trajectory_id=trajectory_id(self.dataset, self.identity.config_hash, item.key),
            dataset=self.dataset,
            program=item.program,
            attempt=item.attempt,
            problem=item.problem,
            level=item.level,
            group_id=item.group,
            provenance=self.provenance(item),
            cost=cost,
            created_at=time.time(),
            **found,
        )
