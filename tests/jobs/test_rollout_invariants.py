"""What holds for every row of a round, whatever happens to the machinery while it is made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storage.records import Ending, Level, Problem, Trajectory
from tests.jobs.sandboxes import WrappedSandbox
from tests.jobs.writing_policy import comparable, settings, write_steps
from tirgen.data.load import load_problems
from tirgen.engine.protocol import Completion, Engine, Prompt, Renderer, Sampling
from tirgen.jobs.branch import BranchItem, BranchMaker
from tirgen.jobs.engines import open_engine
from tirgen.jobs.maker import RunIdentity
from tirgen.jobs.rollout_config import RolloutConfig
from tirgen.jobs.rollout_maker import JobContext, RolloutMaker
from tirgen.sandbox.contract import Execution, Limits, Sandbox
from tirgen.sandbox.local import LocalSandbox
from tirgen.tir.branch import FailedStep, failed_steps
from tirgen.tir.markup import render_output
from tirgen.verification import Verifier

IDENTITY = RunIdentity("run", "hash", "0", "pocket")
SAMPLES = 3


@dataclass
class ListeningEngine:
    """The engine itself; what it was asked and what it sampled is written down."""

    inner: Engine
    heard: list[tuple[Prompt, Completion]] = field(default_factory=list)

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def server(self) -> str:
        return self.inner.server

    @property
    def renderer(self) -> Renderer | None:
        return self.inner.renderer

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        completion = await self.inner.complete(prompt, sampling)
        self.heard.append((prompt, completion))
        return completion


class DyingSandbox(WrappedSandbox):
    """The sandbox itself, of which every process is killed in one call of ten, one at a time."""

    def __init__(self, inner: Sandbox, others: set[int]) -> None:
        super().__init__(inner)
        self._others = others
        self._killing = asyncio.Lock()
        self.deaths = 0

    async def run(self, code: str, limits: Limits) -> Execution:
        self._calls += 1
        if self._calls % 10:
            return await self._inner.run(code, limits)
        async with self._killing:  # a zygote that is only starting is given the time to
            running = asyncio.create_task(self._inner.run(code, limits))
            await asyncio.sleep(0.005)
            self.deaths += not running.done()
            for pid in descendants(os.getpid()) - self._others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return await running


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                found |= {child, *descendants(child)}
    return found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RolloutConfig:
    problems = write_steps(tmp_path_factory.mktemp("problems") / "steps.jsonl", 8)
    loop = {"tokens": 400, "stop_at_failure": False}
    return settings(problems, loop=loop)


@asynccontextmanager
async def workshop(config: RolloutConfig) -> AsyncIterator[tuple[Engine, Verifier]]:
    async with open_engine(config.policy) as engine, Verifier() as verifier:
        yield engine, verifier


def asked(config: RolloutConfig) -> Iterator[tuple[Problem, int]]:
    for problem in load_problems(config.problems.path).problems:
        for attempt in range(SAMPLES):
            yield problem, attempt


@dataclass
class Made:
    """The same rollouts, alone with what the engine said, and in a crowd among deaths."""

    alone: list[tuple[Trajectory, list[tuple[Prompt, Completion]]]]
    branches: list[tuple[Trajectory, Trajectory]]
    """Branches after the trajectories they grow from."""
    crowd: list[Trajectory]
    deaths: int
    renderer: Renderer


def branch_of(row: Trajectory, failed: FailedStep) -> BranchItem:
    return BranchItem(
        problem=failed.problem,
        program=row.program,
        attempt=0,
        level=Level.STEP,
        group_id=failed.group_id,
        failed=failed,
        source=row,
    )


async def make(config: RolloutConfig) -> Made:
    async with workshop(config) as (engine, verifier):
        listening = ListeningEngine(engine)
        alone, branches = [], []
        async with LocalSandbox() as sandbox:
            place = JobContext(IDENTITY, listening, sandbox, verifier)
            maker = RolloutMaker(config, place)
            for problem, attempt in asked(config):
                listening.heard = []
                item = maker.item(problem, attempt)
                alone.append((await maker.make(item), listening.heard))
            listening.heard = []
            assert config.branches
            brancher = BranchMaker(config, place, config.branches)
            for row, _ in alone:
                for failed in failed_steps(row):
                    branches.append((row, await brancher.make(branch_of(row, failed))))
        others = descendants(os.getpid())
        async with LocalSandbox() as sandbox:
            dying = DyingSandbox(sandbox, others)
            maker = RolloutMaker(config, JobContext(IDENTITY, engine, dying, verifier))
            items = [maker.item(problem, number) for problem, number in asked(config)]
            crowd = await asyncio.gather(*map(maker.make, items))
        assert engine.renderer
        return Made(alone, branches, list(crowd), dying.deaths, engine.renderer)


@pytest.fixture(scope="module")
def made(config: RolloutConfig) -> Made:
    return asyncio.run(make(config))


def test_trained_ids_are_the_engines_ids_and_the_injected_ids(made: Made) -> None:
    """Method C3, against what the engine itself returned, for every rollout."""
    for row, heard in made.alone:
        (first, _), *_ = heard
        ids, calls = list(first.token_ids), iter(row.calls)
        for prompt, completion in heard:
            assert prompt.token_ids == tuple(ids)
            ids += completion.token_ids
            if (call := next(calls, None)) is not None:
                ids += made.renderer.encode(
                    render_output(call.observation or "", after=completion.text)
                )
        assert row.tokens.token_ids == tuple(ids)
        sampled = [token for _, completion in heard for token in completion.token_ids]
        own = zip(row.tokens.token_ids, row.tokens.loss_mask, strict=True)
        assert [token for token, mine in own if mine] == sampled
        said = [value for _, completion in heard for value in completion.logprobs]
        assert [value for value in row.tokens.logprobs if value is not None] == said


def test_killing_the_sandbox_in_one_call_of_ten_changes_no_row(made: Made) -> None:
    """Method C2 and C7 (method D7): what was killed runs again, and no reward knows of it."""
    assert made.deaths >= 2
    assert [row.error for row in made.crowd if row.ending is Ending.SANDBOX_ERROR] == []
    alone = [row for row, _ in made.alone]
    assert [row.reward for row in made.crowd] == [row.reward for row in alone]
    assert list(map(comparable, made.crowd)) == list(map(comparable, alone))


def test_a_branch_belongs_to_the_problem_of_the_trajectory_it_grows_from(made: Made) -> None:
    """Method D12: there step samples carried the gold answers of unrelated rows."""
    assert len({row.problem.problem_id for row, _ in made.branches}) > 1
    for row, branch in made.branches:
        assert branch.problem == row.problem
        assert str(branch.group_id).startswith(f"{row.trajectory_id}/")
