"""The rows of a policy: whole rollouts, and branches of their failed steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Generic

from storage.records import Ending, Problem, Program, Provenance, Trajectory, Verdict
from tirgen.engine.protocol import Engine, Message, Renderer, Sampling
from tirgen.jobs.maker import Identity, Item, ItemT, Judgement, Maker, Sample
from tirgen.jobs.rollout_config import BranchSettings, PolicySettings
from tirgen.sandbox.contract import Sandbox
from tirgen.tir.branch import FailedStep, branch, split
from tirgen.tir.core import Role, Voice, derive_seed
from tirgen.tir.driver import Driver, Meter
from tirgen.tir.programs import Bounds, chain_of_thought
from tirgen.tir.prompts import prompt_hash
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.rollout import rollout
from tirgen.tir.story import Story
from tirgen.tir.transcript import Transcript
from tirgen.verification import Verifier, extract_answer
from tirgen.verification.verdicts import OFF_FORMAT


@dataclass(frozen=True, slots=True)
class Workplace:
    """What the makers of one run share."""

    identity: Identity
    engine: Engine
    sandbox: Sandbox
    verifier: Verifier


class PolicyMaker(Maker[ItemT], Generic[ItemT]):
    """What rollouts and branches have in common."""

    def __init__(self, config: PolicySettings, workplace: Workplace) -> None:
        super().__init__(config.dataset, workplace.identity)
        self._config = config
        self._engine = workplace.engine
        self._sandbox = workplace.sandbox
        self._verifier = workplace.verifier
        limits = config.sandbox.limits()
        roles = {Role.ACTOR: workplace.engine}
        self._driver = Driver(roles, workplace.sandbox, limits, config.loop.wall_seconds)
        self._tools = ToolPolicy(
            limits=limits,
            observation_characters=config.loop.observation_characters,
            stop_at_failure=config.loop.stop_at_failure,
        )

    @property
    def instruction(self) -> str:
        """The prompt, with ``{question}`` in it."""
        prompts = self._config.prompt_set
        return prompts.cot if self._config.program is Program.COT else prompts.tir

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        text = self.instruction.replace("{question}", problem.question)
        return (Message("user", text),)

    def voice(self, seed: int, max_tokens: int) -> Voice:
        sampling = Sampling(max_tokens=max_tokens, **self._config.sampling.model_dump())
        return Voice(Role.ACTOR, self._engine.renderer, sampling, seed)

    def seed(self, item: ItemT) -> int:
        """Another policy version meets a problem with other dice."""
        return derive_seed(self._config.seed, self._config.policy_version, *self.whose(item))

    def whose(self, item: ItemT) -> tuple[object, ...]:
        """What a row's seed depends on beside configuration and policy."""
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
            actor_prompt_hash=prompt_hash(self.instruction),
            critic_prompt_hash=None,
            seed=self.seed(item),
            code_version=self.identity.code_version,
            sandbox=self._sandbox.mode,
            policy_version=config.policy_version,
        )


class RolloutMaker(PolicyMaker[Item]):
    """Makes samples of the policy's answers to whole problems."""

    def begin(self, item: Item) -> Sample:
        config = self._config
        story = Story(Transcript(self.messages(item.problem), self._engine.renderer))
        policy = self.voice(self.seed(item), config.loop.tokens)
        bounds = _bounds(config.loop.tokens, config.loop.tool_rounds)
        program = (
            chain_of_thought(story, policy, bounds)
            if config.program is Program.COT
            else rollout(story, policy, bounds, self._tools, config.repairs)
        )
        return Sample(story, program, self._driver)

    async def judge(self, item: Item, story: Story, meter: Meter) -> Judgement:
        answer = extract_answer(story.transcript.text)
        return Judgement(await self._verdict(item.problem, story), answer)

    async def _verdict(self, problem: Problem, story: Story) -> Verdict | None:
        """None where the machinery broke: such a row says nothing about the policy."""
        if not story.ending.is_judged:
            return None
        if story.ending is Ending.OFF_FORMAT:
            return Verdict(correct=False, method=OFF_FORMAT, reason=story.error or "off format")
        return await self._verifier.verify(problem.answer, story.transcript.text)

    def sample_of(self, problem: Problem, number: int) -> Item:
        """The item of one sample of a problem."""
        return Item(problem=problem, program=self._config.program, attempt=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchItem(Item):
    """One suffix and one action to be sampled from a failed step's prefix."""

    failed: FailedStep
    source: Trajectory
    """The trajectory with that step."""


class BranchMaker(PolicyMaker[BranchItem]):
    """Makes branches; the reward of one is that its code ran."""

    def __init__(
        self, config: PolicySettings, workplace: Workplace, settings: BranchSettings
    ) -> None:
        super().__init__(config, workplace)
        self._settings = settings

    def begin(self, item: BranchItem) -> Sample:
        suffix = self._settings.suffix_tokens
        prefix = split(item.source, item.failed.step, self._renderer, suffix)
        transcript = Transcript.after(
            self.messages(item.problem), self._renderer, prefix.token_ids, prefix.kept
        )
        story = Story(transcript)
        policy = self.voice(self.seed(item), self._settings.tokens)
        bounds = _bounds(self._settings.tokens, tool_rounds=1)
        return Sample(story, branch(story, policy, prefix, bounds, self._tools), self._driver)

    async def judge(self, item: BranchItem, story: Story, meter: Meter) -> Judgement:
        return Judgement(None)

    def whose(self, item: BranchItem) -> tuple[object, ...]:
        failed = item.failed
        return (item.problem.problem_id, failed.attempt, failed.step, item.attempt)

    @property
    def _renderer(self) -> Renderer:
        renderer = self._engine.renderer
        assert renderer is not None, "the configuration refuses branches for chat endpoints"
        return renderer


def _bounds(tokens: int, tool_rounds: int) -> Bounds:
    """A policy that writes its own programs has no steps to bound."""
    return Bounds(
        step_tokens=tokens,
        step_delimiter="",
        steps=1,
        tokens=tokens,
        tool_rounds=tool_rounds,
        tool_rounds_per_step=tool_rounds,
    )
