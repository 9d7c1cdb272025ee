"""The rows of an import: recorded responses whose programs are run and whose answers are judged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from storage.records import Provenance, Trajectory
from tirgen.data.replay import replay
from tirgen.data.responses import Response
from tirgen.filters.rules import accept
from tirgen.jobs.import_config import ImportConfig
from tirgen.jobs.maker import Identity, Item, Judgement, Maker, Sample
from tirgen.sandbox.open import AnySandbox
from tirgen.tir.driver import Driver, Meter, Runner
from tirgen.tir.markup import parse_trajectory
from tirgen.tir.story import Story
from tirgen.tir.transcript import Transcript
from tirgen.verification import Verifier, extract_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedItem(Item):
    """One response of the file."""

    response: Response


class ReplayMaker(Maker[RecordedItem]):
    """Runs and judges recorded responses."""

    def __init__(
        self, config: ImportConfig, identity: Identity, sandbox: AnySandbox, verifier: Verifier
    ) -> None:
        super().__init__(config.dataset, identity)
        self._config = config
        self._sandbox = sandbox
        self._verifier = verifier

    def begin(self, item: RecordedItem) -> Sample:
        return self._sample(item, self._sandbox)

    @asynccontextmanager
    async def prepared(self, item: RecordedItem) -> AsyncIterator[Sample]:
        """In a session of its own where the programs of a response share an interpreter."""
        if not self._config.in_sessions:
            yield self.begin(item)
            return
        session = await self._sandbox.session(self._config.sandbox.memory_mb)
        try:
            yield self._sample(item, session)
        finally:
            await session.close()

    async def judge(self, item: RecordedItem, story: Story, meter: Meter) -> Judgement:
        """An answer that is only announced counts: others do not box theirs."""
        text, gold = item.response.foreign.response, item.problem.answer
        answer = extract_answer(text, require_box=False)
        if not gold:
            story.error = story.error or "no gold answer to judge by"
        if story.ending.is_infrastructure or not gold:
            return Judgement(None, answer)
        return Judgement(await self._verifier.verify(gold, text), answer)

    async def finish(self, row: Trajectory) -> Trajectory:
        """With the verdicts of the filters, which publication asks for again."""
        return replace(row, filters=accept(row, self._config.filters))

    def provenance(self, item: RecordedItem) -> Provenance:
        config = self._config
        state = "session" if config.in_sessions else "stateless"
        return Provenance(
            run_id=self.identity.run_id,
            config_hash=self.identity.config_hash,
            actor_model=item.response.foreign.model or config.path.stem,
            critic_model=None,
            engine=self.identity.engine,
            exact_tokens=False,
            sampling="{}",
            actor_prompt_hash="",
            critic_prompt_hash=None,
            seed=config.seed,
            code_version=self.identity.code_version,
            sandbox=f"{self._sandbox.mode} {state}",
        )

    def _sample(self, item: RecordedItem, runner: Runner) -> Sample:
        story = Story(Transcript((), None))
        program = replay(story, parse_trajectory(item.response.foreign.response))
        return Sample(story, program, Driver({}, runner, self._config.sandbox.limits(), None))
