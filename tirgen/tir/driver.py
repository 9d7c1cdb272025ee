"""The driver: answers a program's requests with real engines and a real sandbox.

One call drives one loop; thousands run at the same time as asyncio tasks. A loop that waits for the
sandbox holds no engine slot, and the other way round, since both limit their own concurrency.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from storage.records import Cost, Outcome
from tirgen.engine.errors import EngineRefused, EngineUnavailable
from tirgen.engine.live_trajectory import Activity, LiveTrajectory
from tirgen.engine.protocol import Completion, Engine
from tirgen.sandbox.contract import Execution, Limits
from tirgen.tir.core import (
    Execute,
    Generate,
    Loop,
    Request,
    Result,
    Role,
    SandboxFault,
    TimeLimitReached,
)
from tirgen.tir.recall import Recall

T = TypeVar("T")
THROWN_INTO_THE_LOOP = (EngineRefused, EngineUnavailable, SandboxFault, TimeLimitReached)


@dataclass(slots=True)
class UsageCounter:
    """Counts what one loop costs, also when it does not finish."""

    started: float = field(default_factory=time.monotonic)
    calls: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    prompt_tokens: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    completion_tokens: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    llm_seconds: float = 0.0
    sandbox_seconds: float = 0.0
    replicas: dict[str, None] = field(default_factory=dict)
    """The servers that answered, in the order of their first answers, where a model has several."""

    def add(self, role: Role, completion: Completion) -> None:
        """Count the cost of an answered call; the call itself is counted when it begins."""
        self.prompt_tokens[role] += completion.prompt_tokens
        self.completion_tokens[role] += completion.completion_tokens
        self.llm_seconds += completion.seconds
        if completion.replica:
            self.replicas[completion.replica] = None

    def add_execution(self, execution: Execution) -> None:
        """Count the cost of a program that was run."""
        self.sandbox_seconds += execution.wall_ms / 1000

    def cost(self) -> Cost:
        return Cost(
            actor_calls=self.calls[Role.ACTOR],
            actor_prompt_tokens=self.prompt_tokens[Role.ACTOR],
            actor_completion_tokens=self.completion_tokens[Role.ACTOR],
            critic_calls=self.calls[Role.CRITIC],
            critic_prompt_tokens=self.prompt_tokens[Role.CRITIC],
            critic_completion_tokens=self.completion_tokens[Role.CRITIC],
            llm_seconds=self.llm_seconds,
            sandbox_seconds=self.sandbox_seconds,
            wall_seconds=time.monotonic() - self.started,
        )


class Runner(Protocol):
    """Runs programs: the stateless sandbox, or one of its sessions."""

    async def run(self, code: str, limits: Limits) -> Execution: ...


@dataclass(frozen=True, slots=True)
class Driver:
    """What answers requests: an engine per role, and the sandbox with the limits of a program."""

    engines: Mapping[Role, Engine]
    sandbox: Runner
    limits: Limits
    wall_seconds: float | None
    """Longest time for a whole loop; None where the limits of its programs bound it."""

    async def drive(self, loop: Loop[T], usage: UsageCounter, recall: Recall | None = None) -> T:
        """Run a loop to its end and return what it returns.

        Requests that `recall` has a reply to are not sent; it keeps the replies to the others.
        Raises `EngineMisconfigured`: no other loop can succeed either; OSError where a reply cannot
        be kept. Every other failure is thrown into the loop, which knows what it means for the
        trajectory.
        """
        with LiveTrajectory.joined() as trajectory:
            return await self._drive(loop, trajectory, usage, recall)

    async def _drive(
        self, loop: Loop[T], trajectory: LiveTrajectory, usage: UsageCounter, recall: Recall | None
    ) -> T:
        now, most = asyncio.get_running_loop().time(), self.wall_seconds
        trajectory.deadline = None if most is None else now + most
        try:
            request = next(loop)
            while True:
                try:
                    result = await self._reply(request, trajectory, usage, recall)
                except THROWN_INTO_THE_LOOP as error:
                    request = loop.throw(error)
                else:
                    request = loop.send(result)
        except StopIteration as stop:
            returned: T = stop.value
            return returned

    async def _reply(
        self,
        request: Request,
        trajectory: LiveTrajectory,
        usage: UsageCounter,
        recall: Recall | None,
    ) -> Result:
        """The reply that an earlier process was given, or a new one, which is kept."""
        kept = recall.next(request) if recall else None
        if kept is not None:
            _count_again(request, kept, trajectory, usage)
            return kept
        reply = await self._answer(request, trajectory, usage)
        if recall:
            recall.keep(reply)
        return reply

    async def _answer(
        self, request: Request, trajectory: LiveTrajectory, usage: UsageCounter
    ) -> Result:
        try:
            async with asyncio.timeout_at(trajectory.deadline) as limit:
                with trajectory.bounded_by(limit):
                    return await self._asked(request, trajectory, usage)
        except TimeoutError:
            raise TimeLimitReached(
                f"the trajectory took more than {self.wall_seconds:g} s"
            ) from None

    async def _asked(
        self, request: Request, trajectory: LiveTrajectory, usage: UsageCounter
    ) -> Result:
        match request:
            case Generate(role, prompt, sampling):
                usage.calls[role] += 1
                completion = await self.engines[role].complete(prompt, sampling)
                usage.add(role, completion)
                return completion
            case Execute(code):
                with trajectory.at(Activity.SANDBOX):
                    return await self._execute(code, usage)

    async def _execute(self, code: str, usage: UsageCounter) -> Result:
        execution = await self.sandbox.run(code, self.limits)
        usage.add_execution(execution)
        if execution.outcome is Outcome.INFRA_ERROR:
            raise SandboxFault(execution.stderr.strip() or "the sandbox could not run the program")
        return execution


def _count_again(
    request: Request, reply: Result, trajectory: LiveTrajectory, usage: UsageCounter
) -> None:
    """Let a kept reply cost the trajectory what it cost the earlier process, its time included."""
    match request, reply:
        case Generate(role), Completion():
            usage.calls[role] += 1
            usage.add(role, reply)
            seconds = reply.seconds
        case _, Execution():
            usage.add_execution(reply)
            seconds = reply.wall_ms / 1000
        case _:
            raise AssertionError("a completion answers a generation, an execution a program")
    usage.started -= seconds
    if trajectory.deadline is not None:
        trajectory.deadline -= seconds
