"""Makes one trajectory: a program driven to its end, verified, filtered and put on record."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from storage.records import Ending, Problem, Program, Provenance, Trajectory, Verdict, trajectory_id
from tirgen.config import GenerateConfig, SamplingSettings
from tirgen.engine.protocol import Engine, Message, Renderer, Sampling
from tirgen.filters.config import Mode
from tirgen.filters.rules import accept
from tirgen.opinion import AnswerJudge
from tirgen.sandbox.contract import Sandbox
from tirgen.tir.core import Loop, Role, Voice, derive_seed
from tirgen.tir.driver import Driver, Meter
from tirgen.tir.programs import Bounds, chain_of_thought, tirgen
from tirgen.tir.prompts import PROMPT_SETS, PromptSet, prompt_hash
from tirgen.tir.reasoning import Windows, reasoning
from tirgen.tir.refine import ToolPolicy, refine
from tirgen.tir.story import Story, tell
from tirgen.tir.transcript import Transcript
from tirgen.verification import Verifier, extract_answer


@dataclass(frozen=True, slots=True)
class Identity:
    """What every row of a run shares about where it came from."""

    run_id: str
    config_hash: str
    code_version: str
    engine: str


class TrajectoryMaker:
    """Makes the trajectories of one run; safe to use from many tasks at once."""

    def __init__(
        self,
        config: GenerateConfig,
        identity: Identity,
        engines: Mapping[Role, Engine],
        sandbox: Sandbox,
        verifier: Verifier,
        judge: AnswerJudge | None = None,
    ) -> None:
        self._config = config
        self._identity = identity
        self._engines = engines
        self._sandbox = sandbox
        self._verifier = verifier
        self._second_judge = judge
        self._prompts: PromptSet = PROMPT_SETS[config.prompt_set_name]
        limits = config.sandbox.limits()
        self._driver = Driver(engines, sandbox, limits, config.loop.wall_seconds)
        self._tools = ToolPolicy(
            limits=limits,
            observation_characters=config.loop.observation_characters,
            stop_at_failure=config.loop.stop_at_failure,
        )
        self._bounds = Bounds(
            step_tokens=config.loop.step_tokens,
            step_delimiter=config.loop.step_delimiter,
            steps=config.loop.steps,
            tokens=config.loop.tokens,
            tool_rounds=config.loop.tool_rounds,
            tool_rounds_per_step=config.loop.tool_rounds_per_step,
        )
        self._windows = Windows(
            tokens=config.thinking.window_tokens,
            least=config.thinking.least_window_tokens,
            budget=config.thinking.tokens,
            budget_sentence=config.thinking.budget_sentence,
        )

    async def make(self, problem: Problem, program: Program, attempt: int) -> Trajectory:
        """One attempt, whatever becomes of it.

        Raises `EngineMisconfigured` only; every other failure is the trajectory's ending.
        """
        seed = derive_seed(self._config.seed, problem.problem_id, program, attempt)
        story = self._story(problem)
        meter = Meter()
        await self._driver.drive(tell(story, self._program(story, program, seed)), meter)
        verdict = await self._judge(problem, story)
        trajectory = Trajectory(
            trajectory_id=trajectory_id(
                self._config.dataset,
                self._identity.config_hash,
                (problem.problem_id, program.value, attempt),
            ),
            dataset=self._config.dataset,
            program=program,
            attempt=attempt,
            problem=problem,
            steps=tuple(story.steps),
            final_answer=extract_answer(story.transcript.text),
            ending=story.ending,
            error=story.error,
            verdict=verdict,
            provenance=self._provenance(program, seed),
            cost=meter.cost(),
            tokens=story.transcript.stream(),
            group_id=problem.problem_id,
            created_at=time.time(),
        )
        if self._second_judge:
            trajectory = replace(trajectory, opinion=await self._second_judge.opinion(trajectory))
        if program is Program.COT:
            return trajectory
        return replace(trajectory, filters=accept(trajectory, self._config.filters))

    def _story(self, problem: Problem) -> Story:
        messages: tuple[Message, ...] = self._prompts.for_cot(problem.question)
        return Story(Transcript(messages, self._renderer(Role.ACTOR)))

    def _program(self, story: Story, program: Program, seed: int) -> Loop[Ending]:
        actor = self._voice(Role.ACTOR, seed, self._config.loop.tokens)
        critic = self._voice(Role.CRITIC, seed, self._config.loop.critic_tokens)
        if self._config.mode is Mode.REASONING:
            refiner = partial(refine, critic, self._prompts, tools=self._tools)
            with_tools = refiner if program is Program.TIRGEN else None
            return reasoning(
                story, actor, self._bounds, self._windows, self._tools, refiner=with_tools
            )
        if program is Program.COT:
            return chain_of_thought(story, actor, self._bounds)
        return tirgen(story, actor, critic, self._prompts, self._bounds, self._tools)

    async def _judge(self, problem: Problem, story: Story) -> Verdict | None:
        """None where the machinery broke: such a row says nothing about the policy."""
        if not story.ending.is_judged:
            return None
        return await self._verifier.verify(problem.answer, story.transcript.text)

    def _voice(self, role: Role, seed: int, max_tokens: int) -> Voice:
        settings = self._sampling(role)
        sampling = Sampling(max_tokens=max_tokens, **settings.model_dump())
        return Voice(role, self._renderer(role), sampling, seed)

    def _sampling(self, role: Role) -> SamplingSettings:
        config = self._config
        return config.actor_sampling if role is Role.ACTOR else config.critic_sampling

    def _renderer(self, role: Role) -> Renderer | None:
        return self._engines[role].renderer

    def _provenance(self, program: Program, seed: int) -> Provenance:
        has_critic = program is Program.TIRGEN
        renderer = self._renderer(Role.ACTOR)
        return Provenance(
            run_id=self._identity.run_id,
            config_hash=self._identity.config_hash,
            actor_model=self._engines[Role.ACTOR].model,
            critic_model=self._engines[Role.CRITIC].model if has_critic else None,
            engine=self._identity.engine,
            exact_tokens=renderer is not None,
            tokenizer=renderer.fingerprint if renderer else None,
            sampling=json.dumps(self._sampling(Role.ACTOR).model_dump(), sort_keys=True),
            actor_prompt_hash=prompt_hash(self._prompts.cot),
            critic_prompt_hash=prompt_hash(self._prompts.critic) if has_critic else None,
            seed=seed,
            code_version=self._identity.code_version,
            sandbox=self._sandbox.mode,
        )
