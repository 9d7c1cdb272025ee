"""A trajectory that an earlier process began: what is asked again, and what it costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from storage.journal import Journal
from storage.records import Outcome, Provenance
from tests.rows import row
from tests.tir.scripted import ran, said, sampler
from tirgen.engine.errors import EngineUnavailable
from tirgen.engine.protocol import Completion, Prompt, Renderer, Sampling
from tirgen.sandbox.contract import Execution, Limits
from tirgen.tir.core import Loop, Role, SandboxFault, TimeLimitReached, run_code
from tirgen.tir.driver import Driver, UsageCounter
from tirgen.tir.recall import Recall

HOSTILE = "\ud800\n\x00 \\boxed{4}"


class Engine:
    """Counts its calls; each reply is another one. It fails at some."""

    model = server = "by hand"
    renderer: Renderer | None = None

    def __init__(self, *fails_at: int) -> None:
        self.calls = 0
        self._fails_at = fails_at

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        self.calls += 1
        await asyncio.sleep(0.001)
        if self.calls in self._fails_at:
            raise EngineUnavailable("gone")
        return replace(said(f"{HOSTILE} {self.calls}", stop="4"), replica="http://one")


class Sandbox:
    """Counts its programs; each prints another number."""

    def __init__(self, outcome: Outcome = Outcome.OK) -> None:
        self.runs = 0
        self._outcome = outcome

    async def run(self, code: str, limits: Limits) -> Execution:
        self.runs += 1
        return ran(f"{HOSTILE} {self.runs}", self._outcome)


class Process:
    """What one process has: an engine, a sandbox, and the journal of the store."""

    def __init__(
        self, store: Path, engine: Engine | None = None, sandbox: Sandbox | None = None
    ) -> None:
        self._store = store
        self.engine, self.sandbox = engine or Engine(), sandbox or Sandbox()
        self.usage = UsageCounter()

    async def make(
        self,
        *,
        most: int = 3,
        question: str = "q",
        origin: Provenance | None = None,
        wall_seconds: float = 60,
    ) -> list[str]:
        """Make `most` rounds of text and program; the replies that the loop was given."""
        engines = {Role.ACTOR: self.engine, Role.CRITIC: self.engine}
        driver = Driver(engines, self.sandbox, Limits(), wall_seconds)
        recall = Recall(Journal(self._store).of("t1"), origin or row().provenance)
        return await driver.drive(rounds(most, question), self.usage, recall)


def rounds(most: int, question: str) -> Loop[list[str]]:
    actor, seen = sampler(Role.ACTOR), list[str]()
    for number in range(most):
        prompt = Prompt(messages=(), reply=question + "".join(seen), token_ids=(1, 2, number))
        completion = yield from actor.sample(prompt, stop=("4",))
        seen.append(repr(completion))
        execution = yield from run_code("print(1)")
        seen.append(repr(execution))
    return seen


async def test_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    """Also where each program prints something else each time."""
    first = Process(tmp_path)
    begun = await first.make(most=2)
    second = Process(tmp_path)
    assert (await second.make(most=3))[:4] == begun
    assert (second.engine.calls, second.sandbox.runs) == (1, 1)
    third = Process(tmp_path)
    await third.make(most=3)
    assert (third.engine.calls, third.sandbox.runs) == (0, 0)


async def test_a_recalled_reply_costs_what_it_cost(tmp_path: Path) -> None:
    first, second = Process(tmp_path), Process(tmp_path)
    await first.make()
    await second.make()
    paid, counted = first.usage.cost(), second.usage.cost()
    assert counted.actor_calls == 3
    assert replace(counted, wall_seconds=0) == replace(paid, wall_seconds=0)
    assert counted.wall_seconds >= counted.llm_seconds + counted.sandbox_seconds
    assert list(second.usage.replicas) == ["http://one"]


async def test_the_time_of_recalled_replies_counts_towards_the_limit(tmp_path: Path) -> None:
    """Three calls of 0.1 s are over, and the limit is 0.25 s."""
    await Process(tmp_path).make(most=3)
    with pytest.raises(TimeLimitReached):
        await Process(tmp_path).make(most=4, wall_seconds=0.25)


@pytest.mark.parametrize("changed", ["question", "provenance"])
async def test_another_request_gets_no_kept_reply(tmp_path: Path, changed: str) -> None:
    await Process(tmp_path).make()
    later = Process(tmp_path)
    if changed == "question":
        await later.make(question="another")
    else:
        await later.make(origin=replace(row().provenance, code_version="another"))
    assert later.engine.calls == 3


async def test_faults_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable):
        await Process(tmp_path, Engine(2)).make()
    with pytest.raises(SandboxFault):
        await Process(tmp_path / "other", sandbox=Sandbox(Outcome.INFRA_ERROR)).make()
    after_engine, after_sandbox = Process(tmp_path), Process(tmp_path / "other")
    await after_engine.make()
    await after_sandbox.make()
    assert (after_engine.engine.calls, after_engine.sandbox.runs) == (2, 2)
    assert (after_sandbox.engine.calls, after_sandbox.sandbox.runs) == (2, 3)


async def test_a_reply_that_cannot_be_kept_ends_the_job(tmp_path: Path) -> None:
    """An OSError, which `ENDS_THE_JOB`: the next row would meet the full disk too."""
    (tmp_path / "journal").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="journal"):
        await asyncio.wait_for(Process(tmp_path).make(), 10)
