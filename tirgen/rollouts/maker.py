"""Makes one rollout, or one branch of a failed step: driven to its end, verified, put on record."""

from __future__ import annotations

import json
import time
from typing import TypeVar

from storage.records import Ending, Level, Problem, Program, Provenance, Trajectory, Verdict
from storage.records import trajectory_id as row_id
from tirgen.engine.protocol import Engine, Message, Renderer, Sampling
from tirgen.maker import Identity
from tirgen.rollouts.config import BranchSettings, PolicySettings
from tirgen.sandbox.contract import Sandbox
from tirgen.tir.branch import FailedStep, Prefix, branch, split
from tirgen.tir.core import Role, Voice, derive_seed
from tirgen.tir.driver import Driver, Meter
from tirgen.tir.programs import Bounds, chain_of_thought
from tirgen.tir.prompts import prompt_hash
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.rollout import rollout
from tirgen.tir.story import Story, tell
from tirgen.tir.transcript import Transcript
from tirgen.verdicts import OFF_FORMAT
from tirgen.verification import Verifier, extract_answer

M = TypeVar("M", bound="RolloutMaker")


class RolloutMaker:
    """Makes the rows of one run; safe to use from many tasks at once."""

    def __init__(
        self,
        config: PolicySettings,
        identity: Identity,
        engine: Engine,
        sandbox: Sandbox,
        verifier: Verifier,
    ) -> None:
        self._config = config
        self._identity = identity
        self._engine = engine
        self._sandbox = sandbox
        self._verifier = verifier
        limits = config.sandbox.limits()
        self._driver = Driver({Role.ACTOR: engine}, sandbox, limits, config.loop.wall_seconds)
        self._tools = ToolPolicy(
            limits=limits,
            observation_characters=config.loop.observation_characters,
            stop_at_failure=config.loop.stop_at_failure,
        )

    def sibling(self, kind: type[M], config: PolicySettings) -> M:
        """A maker of another kind, for the same run and with the same engine."""
        return kind(config, self._identity, self._engine, self._sandbox, self._verifier)

    async def make(self, problem: Problem, attempt: int) -> Trajectory:
        """One sample of the policy's answers to a problem, whatever becomes of it.

        Raises `EngineMisconfigured` only; every other failure is the row's ending.
        """
        config = self._config
        story = Story(Transcript(self._messages(problem), self._engine.renderer))
        seed = self._seed(problem.problem_id, config.program, attempt)
        policy = self._voice(seed, config.loop.tokens)
        bounds = _bounds(config.loop.tokens, config.loop.tool_rounds)
        program = (
            chain_of_thought(story, policy, bounds)
            if config.program is Program.COT
            else rollout(story, policy, bounds, self._tools, config.repairs)
        )
        meter = Meter()
        await self._driver.drive(tell(story, program), meter)
        verdict = await self._judge(problem, story, meter)
        key = (problem.problem_id, config.program.value, attempt)
        return self._row(problem, story, meter, key, seed, Level.TRAJECTORY, verdict)

    def prefix(self, trajectory: Trajectory, step: int, settings: BranchSettings) -> Prefix:
        """Where the branches of a failed step begin."""
        return split(trajectory, step, self._renderer, settings.suffix_tokens)

    async def branch(
        self, failed: FailedStep, prefix: Prefix, settings: BranchSettings, number: int
    ) -> Trajectory:
        """One suffix and one action from a failed step's prefix; its reward is that it ran.

        Raises `EngineMisconfigured` only.
        """
        problem = failed.problem
        transcript = Transcript.after(
            self._messages(problem), self._renderer, prefix.token_ids, prefix.kept
        )
        story = Story(transcript)
        seed = self._seed(problem.problem_id, failed.attempt, failed.step, number)
        policy = self._voice(seed, settings.tokens)
        bounds = _bounds(settings.tokens, tool_rounds=1)
        meter = Meter()
        program = branch(story, policy, prefix, bounds, self._tools)
        await self._driver.drive(tell(story, program), meter)
        key = (failed.group_id, Program.ROLLOUT.value, number)
        return self._row(problem, story, meter, key, seed, Level.STEP, None)

    def _row(
        self,
        problem: Problem,
        story: Story,
        meter: Meter,
        key: tuple[str, str, int],
        seed: int,
        level: Level,
        verdict: Verdict | None,
    ) -> Trajectory:
        whole = level is Level.TRAJECTORY
        return Trajectory(
            trajectory_id=row_id(self._config.dataset, self._identity.config_hash, key),
            dataset=self._config.dataset,
            program=self._config.program,
            attempt=key[2],
            problem=problem,
            steps=tuple(story.steps),
            final_answer=extract_answer(story.transcript.text) if whole else None,
            ending=story.ending,
            error=story.error,
            verdict=verdict,
            provenance=self._provenance(seed),
            cost=meter.cost(),
            tokens=story.transcript.stream(),
            level=level,
            group_id=key[0],
            created_at=time.time(),
        )

    @property
    def _instruction(self) -> str:
        prompts = self._config.prompt_set
        return prompts.cot if self._config.program is Program.COT else prompts.tir

    def _messages(self, problem: Problem) -> tuple[Message, ...]:
        text = self._instruction.replace("{question}", problem.question)
        return (Message("user", text),)

    async def _judge(self, problem: Problem, story: Story, meter: Meter) -> Verdict | None:
        """None where the machinery broke: such a row says nothing about the policy."""
        if not story.ending.is_judged:
            return None
        if story.ending is Ending.OFF_FORMAT:
            return Verdict(correct=False, method=OFF_FORMAT, reason=story.error or "off format")
        return await self._verifier.verify(problem.answer, story.transcript.text)

    def _voice(self, seed: int, max_tokens: int) -> Voice:
        sampling = Sampling(max_tokens=max_tokens, **self._config.sampling.model_dump())
        return Voice(Role.ACTOR, self._engine.renderer, sampling, seed)

    def _seed(self, *whose: object) -> int:
        """Another policy version meets a problem with other dice."""
        return derive_seed(self._config.seed, self._config.policy_version, *whose)

    @property
    def _renderer(self) -> Renderer:
        renderer = self._engine.renderer
        assert renderer is not None, "the configuration refuses branches for chat endpoints"
        return renderer

    def _provenance(self, seed: int) -> Provenance:
        config, renderer = self._config, self._engine.renderer
        return Provenance(
            run_id=self._identity.run_id,
            config_hash=self._identity.config_hash,
            actor_model=self._engine.model,
            critic_model=None,
            engine=self._identity.engine,
            exact_tokens=renderer is not None,
            tokenizer=renderer.fingerprint if renderer else None,
            sampling=json.dumps(config.sampling.model_dump(), sort_keys=True),
            actor_prompt_hash=prompt_hash(self._instruction),
            critic_prompt_hash=None,
            seed=seed,
            code_version=self._identity.code_version,
            sandbox=self._sandbox.mode,
            policy_version=config.policy_version,
        )


def _bounds(tokens: int, tool_rounds: int) -> Bounds:
    """A policy that writes its own programs has no steps of ours to bound."""
    return Bounds(
        step_tokens=tokens,
        step_delimiter="",
        steps=1,
        tokens=tokens,
        tool_rounds=tool_rounds,
        tool_rounds_per_step=tool_rounds,
    )
