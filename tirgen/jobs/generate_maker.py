"""Makes the rows of a generation: TIRGen's attempts and the chain-of-thought baselines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from storage.records import Ending, Program, Provenance, Trajectory
from tirgen.engine.protocol import Engine, Renderer, Sampling
from tirgen.filters.filter_config import TrajectoryMode
from tirgen.filters.judge import AnswerJudge
from tirgen.filters.rules import accept
from tirgen.jobs.generate_config import GenerateConfig, SamplingSettings
from tirgen.jobs.maker import Item, Judgement, Maker, RowInProgress, RunIdentity
from tirgen.sandbox.contract import Sandbox
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Loop, Role, Sampler, derive_seed
from tirgen.tir.driver import Driver, UsageCounter
from tirgen.tir.programs import Bounds, chain_of_thought, tirgen
from tirgen.tir.reasoning import Windows, reasoning
from tirgen.tir.refine import ToolPolicy, refine
from tirgen.tir.transcript import Transcript
from tirgen.verification import Verifier, extract_answer


class TirgenMaker(Maker[Item]):
    """Makes attempts (`Program.TIRGEN`) and baselines (`Program.COT`)."""

    def __init__(
        self,
        config: GenerateConfig,
        identity: RunIdentity,
        engines: Mapping[Role, Engine],
        sandbox: Sandbox,
        verifier: Verifier,
        second_judge: AnswerJudge | None = None,
    ) -> None:
        super().__init__(config.dataset, identity)
        self._config = config
        self._engines = engines
        self._sandbox = sandbox
        self._verifier = verifier
        self._second_judge = second_judge
        self._prompts = config.prompt_set
        loop, limits = config.loop, config.sandbox.limits()
        self._driver = Driver(engines, sandbox, limits, loop.wall_seconds)
        self._tools = ToolPolicy(
            limits=limits,
            observation_characters=loop.observation_characters,
            stop_at_failure=loop.stop_at_failure,
        )
        self._bounds = Bounds(
            step_tokens=loop.step_tokens,
            step_delimiter=loop.step_delimiter,
            steps=loop.steps,
            tokens=loop.tokens,
            tool_rounds=loop.tool_rounds,
            tool_rounds_per_step=loop.tool_rounds_per_step,
        )
        self._windows = Windows(
            tokens=config.thinking.window_tokens,
            least=config.thinking.least_window_tokens,
            budget=config.thinking.tokens,
            budget_sentence=config.thinking.budget_sentence,
        )

    def begin(self, item: Item) -> RowInProgress:
        messages = self._prompts.for_cot(item.problem.question)
        builder = TrajectoryBuilder(Transcript(messages, self._renderer(Role.ACTOR)))
        return RowInProgress(builder, self._program(builder, item), self._driver)

    async def judge(self, item: Item, builder: TrajectoryBuilder, usage: UsageCounter) -> Judgement:
        text = builder.transcript.text
        judged = builder.ending.is_judged
        verdict = await self._verifier.verify(item.problem.answer, text) if judged else None
        return Judgement(verdict, extract_answer(text))

    async def finish(self, row: Trajectory) -> Trajectory:
        """Add the second opinion and, except for baselines, the filters' verdicts."""
        if self._second_judge:
            row = replace(row, opinion=await self._second_judge.opinion(row))
        if row.program is Program.COT:
            return row
        return replace(row, filters=accept(row, self._config.filters))

    def provenance(self, item: Item) -> Provenance:
        has_critic = item.program is Program.TIRGEN
        renderer = self._renderer(Role.ACTOR)
        return Provenance(
            run_id=self.identity.run_id,
            config_hash=self.identity.config_hash,
            actor_model=self._engines[Role.ACTOR].model,
            critic_model=self._engines[Role.CRITIC].model if has_critic else None,
            engine=self.identity.engine,
            exact_tokens=renderer is not None,
            tokenizer=renderer.fingerprint if renderer else None,
            sampling=json.dumps(self._sampling(Role.ACTOR).model_dump(), sort_keys=True),
            actor_prompt_hash=self._prompts.hash_of("cot"),
            critic_prompt_hash=self._prompts.hash_of("critic") if has_critic else None,
            seed=self._seed(item),
            code_version=self.identity.code_version,
            sandbox=self._sandbox.mode,
        )

    def _program(self, builder: TrajectoryBuilder, item: Item) -> Loop[Ending]:
        seed = self._seed(item)
        actor = self._sampler(Role.ACTOR, seed, self._config.loop.tokens)
        critic = self._sampler(Role.CRITIC, seed, self._config.loop.critic_tokens)
        if self._config.mode is TrajectoryMode.REASONING:
            refiner = partial(refine, critic, self._prompts, tools=self._tools)
            with_tools = refiner if item.program is Program.TIRGEN else None
            return reasoning(
                builder, actor, self._bounds, self._windows, self._tools, refiner=with_tools
            )
        if item.program is Program.COT:
            return chain_of_thought(builder, actor, self._bounds)
        return tirgen(builder, actor, critic, self._prompts, self._bounds, self._tools)

    def _seed(self, item: Item) -> int:
        return derive_seed(self._config.seed, item.problem.problem_id, item.program, item.attempt)

    def _sampler(self, role: Role, seed: int, max_tokens: int) -> Sampler:
        settings = self._sampling(role)
        sampling = Sampling(max_tokens=max_tokens, **settings.model_dump())
        return Sampler(role, self._renderer(role), sampling, seed)

    def _sampling(self, role: Role) -> SamplingSettings:
        config = self._config
        return config.actor_sampling if role is Role.ACTOR else config.critic_sampling

    def _renderer(self, role: Role) -> Renderer | None:
        return self._engines[role].renderer
