"""The driver over engines and a sandbox that answer, fail, or take too long."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from storage.records import Outcome
from tests.tir.scripted import ran, said, sampler
from tirgen.engine.errors import (
    EngineError,
    EngineMisconfigured,
    EngineRefused,
    EngineUnavailable,
)
from tirgen.engine.protocol import Completion, Prompt, Renderer, Sampling
from tirgen.sandbox.contract import Execution, Limits
from tirgen.tir.core import Loop, Role, SandboxFault, TimeLimitReached, run_code
from tirgen.tir.driver import Driver, UsageCounter

ASK = Prompt(messages=())


class Speaker:
    """Says what it is made with, after a while."""

    model = server = "by hand"
    renderer: Renderer | None = None

    def __init__(self, says: Completion | EngineError, seconds: float = 0.0) -> None:
        self._says, self._seconds = says, seconds

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        await asyncio.sleep(self._seconds)
        if isinstance(self._says, EngineError):
            raise self._says
        return self._says


class Runner:
    """Runs every program with one result, after a while."""

    mode = "by hand"

    def __init__(self, result: Execution, seconds: float = 0.0) -> None:
        self._result, self._seconds = result, seconds

    async def run(self, code: str, limits: Limits) -> Execution:
        await asyncio.sleep(self._seconds)
        return self._result


def driver(
    actor: Speaker | None = None,
    critic: Speaker | None = None,
    sandbox: Runner | None = None,
    wall_seconds: float = 60,
) -> Driver:
    engines = {
        Role.ACTOR: actor or Speaker(said("a", ended=True)),
        Role.CRITIC: critic or Speaker(said("critic", ended=True)),
    }
    return Driver(engines, sandbox or Runner(ran("1")), Limits(), wall_seconds)


def speaking(role: Role = Role.ACTOR) -> Loop[str]:
    completion = yield from sampler(role).sample(ASK)
    return completion.text


def running() -> Loop[str]:
    return (yield from run_code("print(1)")).stdout


async def caught(loop: Callable[[], Loop[str]], by: Driver) -> Exception:
    """What the loop sees at the point of its request."""

    def program() -> Loop[Exception]:
        try:
            yield from loop()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is asked for
            return error
        raise AssertionError("nothing was thrown")

    return await by.drive(program(), UsageCounter())


async def test_requests_go_to_their_role_and_to_the_sandbox() -> None:
    def program() -> Loop[list[str]]:
        return [
            (yield from speaking()),
            (yield from speaking(Role.CRITIC)),
            (yield from running()),
        ]

    assert await driver().drive(program(), UsageCounter()) == ["a", "critic", "1"]


@pytest.mark.parametrize("error", [EngineRefused("no"), EngineUnavailable("gone")])
async def test_trouble_with_a_request_is_for_the_loop_to_judge(error: EngineError) -> None:
    assert await caught(speaking, driver(actor=Speaker(error))) is error


async def test_what_no_trajectory_can_do_anything_about_ends_the_run() -> None:
    wrong = driver(actor=Speaker(EngineMisconfigured("no such model")))
    with pytest.raises(EngineMisconfigured, match="no such model"):
        await wrong.drive(speaking(), UsageCounter())


async def test_a_lost_execution_is_a_fault_of_the_sandbox_and_says_why() -> None:
    lost = ran("", Outcome.INFRA_ERROR, "the zygote died")
    found = await caught(running, driver(sandbox=Runner(lost)))
    assert isinstance(found, SandboxFault)
    assert str(found) == "the zygote died"


@pytest.mark.parametrize(
    ("loop", "slow"),
    [
        (speaking, {"actor": Speaker(said("late", ended=True), seconds=30)}),
        (running, {"sandbox": Runner(ran("late"), seconds=30)}),
    ],
)
async def test_wall_time_is_a_limit_on_engine_and_sandbox(
    loop: Callable[[], Loop[str]], slow: dict[str, Any]
) -> None:
    found = await caught(loop, driver(**slow, wall_seconds=0.05))
    assert isinstance(found, TimeLimitReached)
    assert "more than 0.05 s" in str(found)


async def test_wall_time_is_that_of_the_whole_loop() -> None:
    """Each call alone would be in time."""

    def program() -> Loop[int]:
        for number in range(100):
            try:
                yield from speaking()
            except TimeLimitReached:
                return number
        return 100

    slow = driver(actor=Speaker(said("a", ended=True), seconds=0.05), wall_seconds=0.2)
    assert 0 < await slow.drive(program(), UsageCounter()) <= 4


async def test_a_call_that_failed_was_a_call() -> None:
    usage = UsageCounter()
    with pytest.raises(EngineRefused):
        await driver(actor=Speaker(EngineRefused("no"))).drive(speaking(), usage)
    assert usage.cost().actor_calls == 1


async def test_costs_are_kept_by_role() -> None:
    def program() -> Loop[None]:
        yield from speaking()
        yield from speaking(Role.CRITIC)
        yield from speaking(Role.CRITIC)
        yield from running()

    usage = UsageCounter()
    await driver().drive(program(), usage)
    cost = usage.cost()
    assert (cost.actor_calls, cost.critic_calls) == (1, 2)
    assert (cost.actor_completion_tokens, cost.critic_completion_tokens) == (2, 14)
    assert (cost.actor_prompt_tokens, cost.critic_prompt_tokens) == (10, 20)
    assert cost.llm_seconds == pytest.approx(0.3)
    assert cost.sandbox_seconds == pytest.approx(0.005)
