"""A generation whose shards are worked on in other processes: which are open, how far all are.

The processes are placed and watched by Prefect (`flows/service/spread.py`) or by Ray
(`flows/on_ray.py`); here is what both need to know from the store.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from storage.calls import calls
from storage.datasets import Store
from tirgen.data.load import load_problems
from tirgen.jobs.generate import committed_plan
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.progress import GenerationProgress, Watch
from tirgen.jobs.shards import Shard

SHARD_PROBLEMS = 200
"""Problems in a shard, by default: enough that the start of a process is little beside its work."""
POLL_SECONDS = 3.0
"""How often progress is read from the store."""
_COUNTS = (
    "trajectories", "correct", "failed_executions", "infrastructure", "internal_errors", "tokens",
    "accepted",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A generation divided into shards, as it was when this call began."""

    config: GenerateConfig
    store: Store
    shards: Sequence[Shard]
    """Those with problems that are not settled."""
    problems: int
    settled: int
    reused_rows: int
    before: frozenset[tuple[str, int, str]]
    """The keys of the calls that worked on the run before."""
    started: float
    """By the monotonic clock."""

    @classmethod
    def divided(cls, config: GenerateConfig, store: Store, shard_problems: int) -> Spread:
        """With about `shard_problems` problems in each shard. Raises `ProblemsError`."""
        started = time.monotonic()
        found = load_problems(**config.problems.model_dump())
        of = max(1, math.ceil(len(found.problems) / shard_problems))
        left, reused = list(found.problems), 0
        before = frozenset[tuple[str, int, str]]()
        if run := store.find_run(config.dataset, config.fingerprint()):
            plan = committed_plan(config, run, found)
            left = [one for one in left if not plan.is_settled(one.problem_id)]
            reused = plan.rows
            before = frozenset(call.key for call in calls(run.folder))
        shards = [Shard(number, of) for number in range(1, of + 1)]
        return cls(
            config=config,
            store=store,
            shards=[one for one in shards if any(map(one.has, left))],
            problems=len(found.problems),
            settled=len(found.problems) - len(left),
            reused_rows=reused,
            before=before,
            started=started,
        )

    def progress(self) -> GenerationProgress:
        """The counts of all calls since, added up, and what they were stopped by."""
        total = GenerationProgress(
            problems=self.problems,
            settled=self.settled,
            done_before=self.settled,
            reused_rows=self.reused_rows,
            started=self.started,
        )
        run = self.store.find_run(self.config.dataset, self.config.fingerprint())
        for call in calls(run.folder) if run else ():
            if call.key in self.before:
                continue
            counts = call.progress
            for name in _COUNTS:
                setattr(total, name, getattr(total, name) + int(counts.get(name, 0)))
            total.settled += int(counts.get("done", 0)) - int(counts.get("done_before", 0))
            total.account.stopped = total.account.stopped or counts.get("stopped")
        return total

    @asynccontextmanager
    async def shown(self, watch: Watch[GenerationProgress]) -> AsyncIterator[None]:
        """Call `watch` with the progress every few seconds."""

        async def look() -> None:
            while True:
                watch(await asyncio.to_thread(self.progress))
                await asyncio.sleep(POLL_SECONDS)

        task = asyncio.create_task(look(), name="progress of all shards")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
