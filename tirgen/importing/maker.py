"""Makes one row of a foreign response: its programs run, its answer judged."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from storage.records import Cost, Ending, Program, Provenance, Trajectory
from tirgen.importing.config import ImportConfig
from tirgen.importing.intake import Response
from tirgen.importing.replay import Replay, Runner, replay
from tirgen.importing.shapes import Foreign
from tirgen.sandbox.opening import AnySandbox
from tirgen.tir.markup import parse_trajectory
from tirgen.verification import Verifier, extract_answer


@dataclass(frozen=True, slots=True)
class ForeignMaker:
    """Runs and judges responses; safe to use from many tasks at once."""

    config: ImportConfig
    run_id: str
    sandbox: AnySandbox
    verifier: Verifier

    async def make(self, response: Response) -> Trajectory:
        """One row, whatever became of it. Raises `VerifierUnavailable`."""
        started = time.monotonic()
        text = response.foreign.response
        async with self._runner() as runner:
            limits = self.config.sandbox.limits()
            replayed = await replay(parse_trajectory(text), runner, limits)
        ending, error = _ending(replayed)
        verdict = None
        if not ending.is_infrastructure and response.problem.answer:
            verdict = await self.verifier.verify(response.problem.answer, text)
        return Trajectory(
            trajectory_id=response.identity,
            dataset=self.config.dataset,
            program=Program.IMPORTED,
            attempt=response.attempt,
            problem=response.problem,
            steps=replayed.steps,
            final_answer=extract_answer(text, require_box=False),
            ending=ending,
            error=error or (None if response.problem.answer else "no gold answer to judge by"),
            verdict=verdict,
            provenance=self._provenance(response.foreign),
            cost=Cost(
                sandbox_seconds=sum(step.sandbox_seconds for step in replayed.steps),
                wall_seconds=time.monotonic() - started,
            ),
            group_id=response.problem.problem_id,
            created_at=time.time(),
        )

    @asynccontextmanager
    async def _runner(self) -> AsyncIterator[Runner]:
        if not self.config.in_sessions:
            yield self.sandbox
            return
        session = await self.sandbox.session(self.config.sandbox.memory_mb)
        try:
            yield session
        finally:
            await session.close()

    def _provenance(self, foreign: Foreign) -> Provenance:
        state = "session" if self.config.in_sessions else "stateless"
        return Provenance(
            run_id=self.run_id,
            config_hash=self.config.hash,
            actor_model=foreign.model or self.config.path.stem,
            critic_model=None,
            engine=f"imported {self.config.format}: {self.config.path.name}",
            exact_tokens=False,
            sampling="{}",
            actor_prompt_hash="",
            critic_prompt_hash=None,
            seed=self.config.seed,
            code_version=version("tirgen"),
            sandbox=f"{self.sandbox.mode} {state}",
        )


def _ending(replayed: Replay) -> tuple[Ending, str | None]:
    if replayed.fault is not None:
        return Ending.SANDBOX_ERROR, replayed.fault
    if replayed.invented is not None:
        return Ending.OFF_FORMAT, replayed.invented
    return Ending.FINISHED, None
