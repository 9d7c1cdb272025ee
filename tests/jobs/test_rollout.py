"""Rounds for real: the packaged pocket, the sandbox, the verifier, the store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from storage.datasets import Store
from storage.groups import judge
from storage.records import Ending, Level, Outcome, Problem, Program, TokenStream, Trajectory
from tests.jobs import writing_policy
from tests.jobs.sandboxes import FaultySandbox
from tests.jobs.writing_policy import comparable, served, settings, write_steps
from tirgen.data.load import load_problems
from tirgen.embedded.local import embedded_server
from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.renderer import HfRenderer
from tirgen.jobs.branch import in_order
from tirgen.jobs.engines import open_engine
from tirgen.jobs.maker import RunIdentity
from tirgen.jobs.rollout import RolloutReport, collect_rollouts
from tirgen.jobs.rollout_config import RolloutConfig
from tirgen.jobs.rollout_maker import JobContext, RolloutMaker
from tirgen.sandbox.local import LocalSandbox
from tirgen.tir.branch import failed_steps, split
from tirgen.verification import Verifier

PROBLEMS = 12
IDENTITY = RunIdentity("run", "hash", "0", "pocket")


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_steps(tmp_path_factory.mktemp("problems") / "steps.jsonl", PROBLEMS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base_url() -> AsyncIterator[str]:
    """One server for all: starting it is most of what a small round costs."""
    async with embedded_server() as url:
        yield url


@pytest.fixture(scope="module")
def config(problems: Path, base_url: str) -> RolloutConfig:
    return settings(problems, policy=served(base_url))


@pytest.fixture(scope="module")
def report(config: RolloutConfig, store: Store) -> RolloutReport:
    return asyncio.run(collect_rollouts(config, store))


@pytest.fixture(scope="module")
def rows(report: RolloutReport) -> list[Trajectory]:
    return list(report.version.read())


def of_level(rows: list[Trajectory], level: Level) -> list[Trajectory]:
    return [row for row in rows if row.level is level]


def assert_close(one: TokenStream, other: TokenStream) -> None:
    for left, right in zip(one.logprobs, other.logprobs, strict=True):
        assert (left is None) == (right is None)
        assert left is None or left == pytest.approx(right, abs=1e-5)


def test_a_round_holds_its_groups(rows: list[Trajectory], report: RolloutReport) -> None:
    groups = defaultdict(set)
    for row in of_level(rows, Level.TRAJECTORY):
        assert row.program is Program.ROLLOUT
        assert row.group_id == row.problem.problem_id
        groups[row.group_id].add(row.attempt)
    assert len(groups) == PROBLEMS
    assert all(attempts == set(range(4)) for attempts in groups.values())
    assert report.levels[Level.TRAJECTORY].rows == PROBLEMS * 4
    assert report.version.manifest["rows"] == len(rows)


def test_every_policy_token_was_sampled_and_every_other_was_not(rows: list[Trajectory]) -> None:
    """Method C3."""
    for row in rows:
        stream = row.tokens
        assert not any(stream.loss_mask[: stream.prompt_length])
        assert any(stream.loss_mask)
        for logprob, own in zip(stream.logprobs, stream.loss_mask, strict=True):
            assert (logprob is not None) == own


def test_what_is_masked_is_the_prompt_and_the_output_blocks(rows: list[Trajectory]) -> None:
    """Method C1, on a real policy's rollouts."""
    renderer = HfRenderer.load(str(MODEL_DIR), {})
    for row in of_level(rows, Level.TRAJECTORY):
        stream = row.tokens
        reply = list(zip(stream.token_ids, stream.loss_mask, strict=True))[stream.prompt_length :]
        injected = renderer.decode(tuple(token for token, own in reply if not own))
        blocks = (f"```output\n{step.observation}\n```\n" for step in row.calls)
        assert injected == "".join(blocks)


def test_branches_grow_from_the_tokens_of_the_trajectory_they_are_named_after(
    rows: list[Trajectory], report: RolloutReport
) -> None:
    renderer = HfRenderer.load(str(MODEL_DIR), {})
    parents = {row.trajectory_id: row for row in of_level(rows, Level.TRAJECTORY)}
    branches = of_level(rows, Level.STEP)
    assert branches
    groups = defaultdict(set)
    for row in branches:
        name, _, step = str(row.group_id).partition("/")
        prefix = split(parents[name], int(step), renderer, suffix_tokens=3)
        stream = row.tokens
        assert stream.token_ids[: stream.prompt_length] == prefix.token_ids
        assert all(stream.loss_mask[stream.prompt_length :])
        assert parents[name].steps[int(step) - 1].outcome is not Outcome.OK
        assert len(row.steps) == 1
        groups[row.group_id].add(row.attempt)
    assert all(attempts == set(range(4)) for attempts in groups.values())
    assert len(groups) <= PROBLEMS
    assert report.levels[Level.STEP].groups == len(groups)


def test_a_branch_is_rewarded_for_running(rows: list[Trajectory]) -> None:
    branches = of_level(rows, Level.STEP)
    assert any(row.reward == 1 for row in branches)
    for row in branches:
        ran = [step.outcome for step in row.calls] == [Outcome.OK]
        assert row.reward == float(ran)
        assert row.verdict is None


def test_the_same_call_finds_the_version_and_makes_nothing(
    config: RolloutConfig, store: Store, report: RolloutReport
) -> None:
    again = asyncio.run(collect_rollouts(config, store))
    assert again.reused_version
    assert again.version.path == report.version.path
    assert again.progress.rollouts == again.progress.branches == 0
    assert again.levels == report.levels


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(1, id="among the rollouts", marks=pytest.mark.slow),
        pytest.param(PROBLEMS * 4 + 1, id="among the branches"),
    ],
)
def test_a_round_killed_at_any_moment_ends_with_the_same_rows(
    config: RolloutConfig, rows: list[Trajectory], moment: Any, tmp_path: Path
) -> None:
    arguments = [config.problems.path, str(tmp_path), config.policy.base_urls[0]]
    command = [sys.executable, writing_policy.__file__, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    store = Store(tmp_path)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        run = store.find_run("r", config.fingerprint())
        if run and len(run.keys()) >= moment:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = store.find_run("r", config.fingerprint())
    assert run
    committed = len(run.keys())
    assert committed
    done = asyncio.run(collect_rollouts(config, store))
    assert done.progress.rollouts + done.progress.branches == len(rows) - committed
    made = list(done.version.read())
    assert list(map(comparable, made)) == list(map(comparable, rows))
    for row, other in zip(made, rows, strict=True):
        assert_close(row.tokens, other.tokens)


class Alone(NamedTuple):
    """Rollouts made one after the other, by makers that share one engine."""

    beside_faults: list[Trajectory]
    corrected: list[Trajectory]
    cot: list[Trajectory]


async def made(maker: RolloutMaker, problem: Problem, number: int) -> Trajectory:
    return await maker.make(maker.item(problem, number))


async def make_alone(plain: RolloutConfig) -> Alone:
    where = Path(plain.problems.path)
    corrected = settings(
        where,
        branches=None,
        correction={"suffix_tokens": 3, "attempts": 4},
        loop={"tokens": 400, "stop_at_failure": False},
    )
    cot = settings(where, branches=None, reasoning="cot")
    found = load_problems(plain.problems.path).problems
    async with (
        open_engine(plain.policy) as engine,
        LocalSandbox() as sandbox,
        Verifier() as verifier,
    ):
        faulty = FaultySandbox(sandbox)
        makers = (
            RolloutMaker(plain, JobContext(IDENTITY, engine, faulty, verifier)),
            RolloutMaker(corrected, JobContext(IDENTITY, engine, sandbox, verifier)),
            RolloutMaker(cot, JobContext(IDENTITY, engine, sandbox, verifier)),
        )
        return Alone(
            [await made(makers[0], problem, n) for problem in found[:6] for n in range(4)],
            [await made(makers[1], problem, n) for problem in found for n in range(2)],
            [await made(makers[2], problem, 0) for problem in found[:3]],
        )


@pytest.fixture(scope="module")
def alone(config: RolloutConfig) -> Alone:
    return asyncio.run(make_alone(config))


def test_a_rollout_depends_on_no_other_and_a_lost_sandbox_call_on_no_reward(
    alone: Alone, rows: list[Trajectory]
) -> None:
    """Method C2 and C7: alone and in a crowd, beside faults and without."""
    made = alone.beside_faults
    lost = [row for row in made if row.ending is Ending.SANDBOX_ERROR]
    assert lost
    assert all(row.reward is None and row.verdict is None for row in lost)
    assert all(judge([row])[0].filters[0].rule == "infrastructure" for row in lost)
    crowd = {(row.group_id, row.attempt): row for row in of_level(rows, Level.TRAJECTORY)}
    for row in made:
        if row not in lost:
            other = crowd[row.group_id, row.attempt]
            assert row.tokens.token_ids == other.tokens.token_ids
            assert (row.reward, row.ending) == (other.reward, other.ending)
            assert [s.outcome for s in row.steps] == [s.outcome for s in other.steps]
            assert_close(row.tokens, other.tokens)


def test_corrections_are_on_record_and_paid_for(alone: Alone) -> None:
    """Method A20, A21."""
    corrected = [row for row in alone.corrected if any(step.attempts for step in row.steps)]
    assert corrected
    for row in corrected:
        final = sum(step.policy_tokens for step in row.steps)
        assert row.cost.actor_completion_tokens > final == sum(row.tokens.loss_mask)
        assert all(t.outcome is not Outcome.OK for step in row.steps for t in step.attempts)
        assert all(len(step.attempts) <= 4 for step in row.steps)


def test_the_chain_of_thought_baseline_runs_nothing(alone: Alone) -> None:
    for row in alone.cot:
        assert row.program is Program.COT
        assert not row.calls
        assert row.level is Level.TRAJECTORY


def test_a_quota_is_filled_with_mixed_groups_and_the_stream_goes_on(
    base_url: str, tmp_path: Path
) -> None:
    config = RolloutConfig.model_validate(
        {
            "problems": {"path": "pocket:train", "limit": 30},
            "policy": served(base_url),
            "prompts": "pocket",
            "samples": 4,
            "groups": 1,
            "loop": {"tokens": 400},
        }
    )
    done = asyncio.run(collect_rollouts(config, Store(tmp_path)))
    kept = [row for row in done.version.read() if row.kept]
    assert len({row.group_id for row in kept}) == done.levels[Level.TRAJECTORY].mixed
    assert done.levels[Level.TRAJECTORY].mixed == 1 if done.full else done.next_start == 30
    assert done.next_start == done.progress.begun == done.progress.settled
    for group in {row.group_id for row in kept}:
        assert {row.reward for row in kept if row.group_id == group} == {0.0, 1.0}


def named_steps(rows: list[Trajectory]) -> dict[str, tuple[str, int, str]]:
    """By group id: problem, attempt and step, which are the same in every round."""
    parents = of_level(rows, Level.TRAJECTORY)
    steps = chain.from_iterable(map(failed_steps, parents))
    return {s.group_id: (s.problem.problem_id, s.attempt, str(s.step)) for s in steps}


def test_a_quota_of_step_groups_keeps_the_first_steps_that_fill_it(
    config: RolloutConfig, rows: list[Trajectory], tmp_path: Path
) -> None:
    """The same round without a quota says which steps those are. A second call makes nothing."""
    assert config.branches is not None
    steps = chain.from_iterable(map(failed_steps, of_level(rows, Level.TRAJECTORY)))
    order = [step.group_id for step in in_order(steps, config.seed)]
    mixed = {row.group_id for row in of_level(rows, Level.STEP) if row.kept}
    filling = [place for place, group in enumerate(order) if group in mixed][:2]
    wanted = config.branches.model_copy(update={"groups": len(filling)})
    asked = config.model_copy(update={"branches": wanted})
    done = asyncio.run(collect_rollouts(asked, Store(tmp_path)))
    made = list(done.version.read())
    names, before = named_steps(made), named_steps(rows)
    branched = {names[str(row.group_id)] for row in of_level(made, Level.STEP)}
    assert branched == {before[group] for group in order[: filling[-1] + 1]}
    assert done.full
    assert done.levels[Level.STEP].mixed == len(filling)
    again = asyncio.run(collect_rollouts(asked, Store(tmp_path)))
    assert again.reused_version
    assert again.progress.rollouts == 0


def test_a_round_holds_the_problems_as_they_are_asked_now(base_url: str, tmp_path: Path) -> None:
    """Fewer of them, and later one with its gold answer corrected."""
    file, store = write_steps(tmp_path / "steps.jsonl", 2), Store(tmp_path / "store")

    def asked(limit: int) -> RolloutReport:
        every = settings(file, policy=served(base_url), branches=None)
        problems = every.problems.model_copy(update={"limit": limit})
        config = every.model_copy(update={"problems": problems})
        return asyncio.run(collect_rollouts(config, store))

    both, first = asked(2), asked(1)
    assert [report.version.manifest["rows"] for report in (both, first)] == [8, 4]
    assert first.progress.rollouts == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**row, "answer": "-1"}) + "\n" for row in lines))
    corrected = asked(1)
    assert {row.problem.answer for row in corrected.version.read()} == {"-1"}
    assert corrected.progress.rollouts == 4
    assert asked(1).reused_version


def test_two_rounds_at_once_sample_everything_once(base_url: str, tmp_path: Path) -> None:
    file, store = write_steps(tmp_path / "steps.jsonl", 2), Store(tmp_path / "store")
    config = settings(file, policy=served(base_url), branches=None)

    async def twice() -> tuple[RolloutReport, RolloutReport]:
        return await asyncio.gather(
            collect_rollouts(config, store), collect_rollouts(config, store)
        )

    first, second = asyncio.run(twice())
    assert sorted((first.progress.rollouts, second.progress.rollouts)) == [0, 8]
    assert str(first.version) == str(second.version)
    assert len(store.versions("r")) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reasoning": "cot"}, "branches start at failed programs"),
        ({"start": 3}, "start and most_problems need groups"),
        ({"prompts": "none"}, "is none of"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    problems: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        settings(problems, **changes)


def test_chat_endpoints_can_be_sampled_but_neither_branched_nor_corrected(problems: Path) -> None:
    chat = EngineConfig(kind="chat", base_urls=["http://localhost:1/v1"], model="m")
    with pytest.raises(ValueError, match="chat endpoints"):
        settings(problems, policy=chat)
    with pytest.raises(ValueError, match="chat endpoints"):
        settings(problems, policy=chat, branches=None, correction={})
    assert settings(problems, policy=chat, branches=None).policy.kind == "chat"
