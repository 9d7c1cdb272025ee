"""Makes rollouts of a policy, and what every maker of a policy's rows shares."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Generic

from storage.records import Ending, Problem, Program, Provenance, Verdict
from tirgen.engine.protocol import Engine, Message, Sampling
from tirgen.jobs.maker import Item, ItemT, Judgement, Maker, RowInProgress, RunIdentity
from tirgen.jobs.rollout_config import PolicySettings
from tirgen.sandbox.contract import Sandbox
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Role, Sampler, derive_seed
from tirgen.tir.driver import Driver, UsageCounter
from tirgen.tir.programs import Bounds, chain_of_thought
from tirgen.tir.prompts import Part
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.rollout import rollout
from tirgen.tir.transcript import Transcript
from tirgen.verification import Verifier, extract_answer
from tirgen.verification.verdicts import OFF_FORMAT


@dataclass(frozen=True, slots=True)
class JobContext:
    """What the makers of one run share."""

    identity: RunIdentity
    engine: Engine
    sandbox: Sandbox
    verifier: Verifier


class PolicyMaker(Maker[ItemT], Generic[ItemT]):
    """What makers of rollouts and of branches share."""

    def __init__(self, config: PolicySettings, context: JobContext) -> None:
        super().__init__(config.dataset, context.identity)
        self._config = config
        self._engine = context.engine
        self._sandbox = context.sandbox
        self._verifier = context.verifier
        limits = config.sandbox.limits()
        roles = {Role.ACTOR: context.engine}
        self._driver = Driver(roles, context.sandbox, limits, config.loop.wall_seconds)
        self._tools = ToolPolicy(
            limits=limits,
            observation_characters=config.loop.observation_characters,
            stop_at_failure=config.loop.stop_at_failure,
        )

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """The conversation that the policy answers."""
        return self._config.prompt_set.messages(self._part, problem.question)

    @property
    def prompt_hash(self) -> str:
        """Hash of the instruction in `messages`."""
        return self._config.prompt_set.hash_of(self._part)

    @property
    def _part(self) -> Part:
        return "cot" if self._config.program is Program.COT else "tir"

    def sampler(self, seed: int, max_tokens: int) -> Sampler:
        sampling = Sampling(max_tokens=max_tokens, **self._config.sampling.model_dump())
        return Sampler(Role.ACTOR, self._engine.renderer, sampling, seed)

    def seed(self, item: ItemT) -> int:
        """The row's seed; each policy version has its own."""
        return derive_seed(self._config.seed, self._config.policy_version, *self.seed_parts(item))

    def seed_parts(self, item: ItemT) -> tuple[object, ...]:
        """What the seed depends on, besides configuration and policy."""
        return (item.problem.problem_id, item.program, item.attempt)

    def provenance(self, item: ItemT) -> Provenance:
        config, renderer = self._config, self._engine.renderer
        return Provenance(
            run_id=self.identity.run_id,
            config_hash=self.identity.config_hash,
            actor_model=self._engine.model,
            critic_model=None,
            engine=self.identity.engine,
            exact_tokens=renderer is not None,
            tokenizer=renderer.fingerprint if renderer else None,
            sampling=json.dumps(config.sampling.model_dump(), sort_keys=True),
            actor_prompt_hash=self.prompt_hash,
            critic_prompt_hash=None,
            seed=self.seed(item),
            code_version=self.identity.code_version,
            sandbox=self._sandbox.mode,
            policy_version=config.policy_version,
        )


class RolloutMaker(PolicyMaker[Item]):
    """Makes samples of the policy's answers to whole problems."""

    def begin(self, item: Item) -> RowInProgress:
        config = self._config
        builder = TrajectoryBuilder(Transcript(self.messages(item.problem), self._engine.renderer))
        policy = self.sampler(self.seed(item), config.loop.tokens)
        bounds = replace(
            policy_bounds(config.loop.tokens, config.loop.tool_rounds),
            thinking_tokens=config.thinking.tokens,
            budget_sentence=config.thinking.budget_sentence,
        )
        program = (
            chain_of_thought(builder, policy, bounds)
            if config.program is Program.COT
            else rollout(builder, policy, bounds, self._tools, config.repairs)
        )
        return RowInProgress(builder, program, self._driver)

    async def judge(self, item: Item, builder: TrajectoryBuilder, usage: UsageCounter) -> Judgement:
        answer = extract_answer(builder.transcript.text)
        return Judgement(await self._verdict(item.problem, builder), answer)

    async def _verdict(self, problem: Problem, builder: TrajectoryBuilder) -> Verdict | None:
        """None where the machinery broke: such a row says nothing about the policy."""
        if not builder.ending.is_judged:
            return None
        if builder.ending is Ending.OFF_FORMAT:
            return Verdict(correct=False, method=OFF_FORMAT, reason=builder.error or "off format")
        return await self._verifier.verify(problem.answer, builder.transcript.text)

    def item(self, problem: Problem, number: int) -> Item:
        """The item of one sample of a problem."""
        return Item(problem=problem, program=self._config.program, attempt=number)


def policy_bounds(tokens: int, tool_rounds: int) -> Bounds:
    """The bounds of a policy that writes its own programs; it has no steps to bound."""
    return Bounds(
        step_tokens=tokens,
        step_delimiter="",
        steps=1,
        tokens=tokens,
        tool_rounds=tool_rounds,
        tool_rounds_per_step=tool_rounds,
    )
