"""Reasoning mode for real: the pocket that thinks, its critic, the sandbox, the store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.records import Ending, Program, Trajectory
from storage.sql import query
from tirgen.config import GenerateConfig, load_config
from tirgen.data.load import load_problems
from tirgen.embedded.names import THINKING_DIR
from tirgen.engine.config import open_engines
from tirgen.engine.renderer import HfRenderer
from tirgen.jobs.generate import Report, generate
from tirgen.jobs.maker import Identity, Item
from tirgen.jobs.tirgen_maker import TirgenMaker
from tirgen.sandbox.supervisor import LocalSandbox
from tirgen.settings import ConfigError
from tirgen.tir.core import Role
from tirgen.tir.prompts import BUDGET_SENTENCE
from tirgen.verification import Verifier


def settings(**changes: object) -> GenerateConfig:
    return load_config(None, {"dataset": "t", "mode": "reasoning", "problems.limit": 18,
                              "attempts": 2, "cot_samples": 2, **changes})  # fmt: skip


async def make_all(config: GenerateConfig, count: int, together: bool = True) -> list[Trajectory]:
    problems = load_problems("pocket:test", limit=count).problems
    items = [Item(problem=p, program=Program.TIRGEN, attempt=0) for p in problems]
    async with (
        open_engines(config.actor, config.critic) as engines,
        LocalSandbox() as sandbox,
        Verifier() as verifier,
    ):
        roles = dict(zip(Role, engines, strict=True))
        identity = Identity("run", "hash", "0", "pocket")
        maker = TirgenMaker(config, identity, roles, sandbox, verifier)
        if together:
            return list(await asyncio.gather(*map(maker.make, items)))
        return [await maker.make(item) for item in items]


def told(row: Trajectory) -> str:
    return "\n".join(step.thought for step in row.steps)


def comparable(row: Trajectory) -> tuple[object, ...]:
    """Everything of a row but the clock and the last digits of its log-probabilities."""
    steps = [(s.thought, s.action, s.observation, s.outcome, s.draft) for s in row.steps]
    tokens = (row.tokens.token_ids, row.tokens.loss_mask, row.tokens.prompt_length)
    return (row.key, row.ending, row.verdict, tokens, row.filters, steps, row.final_answer)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Store]:
    store = Store(tmp_path_factory.mktemp("reasoning"))
    return asyncio.run(generate(settings(), store)), store


def test_the_embedded_default_thinks_runs_programs_and_publishes(published):
    report, store = published
    rows = list(report.version.read())
    assert report.progress.settled == 18
    assert any(row.kept for row in rows)
    kept = [row for row in rows if row.kept and row.program is Program.TIRGEN]
    for row in kept:
        assert told(row).startswith("<think>")
        assert told(row).count("</think>") == 1
        assert row.calls
    assert {row.provenance.actor_model for row in rows} == {"pocket-thinking"}
    modes = query(store, "SELECT DISTINCT mode FROM trajectories").to_pylist()
    assert modes == [{"mode": "reasoning"}]


def test_baselines_think_without_tools(published):
    report, _ = published
    baselines = [row for row in report.version.read() if row.program is Program.COT]
    assert baselines
    for row in baselines:
        assert told(row).startswith("<think>")
        assert not row.calls


def test_the_same_command_reuses_what_is_published(published):
    report, store = published
    again = asyncio.run(generate(settings(), store))
    assert again.reused_version
    assert again.progress.trajectories == 0
    assert again.version.path == report.version.path


def test_trained_ids_are_engine_ids_and_injected_ids(published):
    """The stream decodes to every step in order; only policy tokens have log-probabilities."""
    renderer = HfRenderer.load(THINKING_DIR)
    report, _ = published
    for row in report.version.read():
        stream = row.tokens
        text = renderer.decode(stream.token_ids[stream.prompt_length :])
        place = 0
        for step in row.steps:
            for part in (step.thought, step.action, step.observation):
                if part and row.ending is Ending.FINISHED:
                    place = text.index(part, place) + len(part)
        assert not any(stream.loss_mask[: stream.prompt_length])
        for logprob, policy in zip(stream.logprobs, stream.loss_mask, strict=True):
            assert policy or logprob is None


def test_a_trajectory_does_not_depend_on_its_batch_mates():
    config = settings()
    alone = asyncio.run(make_all(config, 6, together=False))
    together = asyncio.run(make_all(config, 6))
    assert list(map(comparable, together)) == list(map(comparable, alone))


def test_a_small_budget_ends_thinking_and_the_actor_answers():
    rows = asyncio.run(make_all(settings(**{"thinking.tokens": 40}), 18))
    ended = [row for row in rows if BUDGET_SENTENCE in told(row)]
    assert len(ended) > 9
    assert sum(row.final_answer is not None for row in ended) > len(ended) / 2
    for row in ended:
        thinking, _, answer = told(row).partition("</think>")
        assert thinking.rstrip().endswith(BUDGET_SENTENCE)
        assert row.ending is Ending.TOKEN_LIMIT or answer.strip()


def test_an_actor_without_token_ids_is_refused():
    with pytest.raises(ConfigError, match=r"actor\.kind = tokens"):
        settings(**{"actor.kind": "chat", "actor.base_url": "http://h/v1", "actor.model": "m"})


def test_settings_of_the_other_mode_do_not_name_a_run():
    def named(**changes: object) -> str:
        return load_config(None, dict(changes)).fingerprint()

    assert named() == named(**{"thinking.tokens": 50})
    assert named(mode="reasoning") != named()
    assert named(mode="reasoning") != named(mode="reasoning", **{"thinking.tokens": 50})


COMMAND = [
    sys.executable, "-m", "flows", "generate", "--dataset", "killed", "--limit", "16",
    "--set", "mode=reasoning", "--set", "attempts=2", "--set", "cot_samples=1", "--json",
]  # fmt: skip


def committed(store: Store) -> list[Trajectory]:
    runs = sorted((store.root / "datasets" / "killed" / "runs").glob("*"))
    run = store.find_run("killed", runs[0].name) if runs else None
    return list(run.read()) if run else []


def test_a_run_killed_in_the_middle_ends_with_the_same_rows(tmp_path: Path):
    straight = [*COMMAND, "--store", str(tmp_path / "straight")]
    subprocess.run(straight, check=True, capture_output=True)
    expected = {
        row.key: comparable(row) for row in Store(tmp_path / "straight").version("killed").read()
    }
    store = Store(tmp_path / "killed")
    command = [*COMMAND, "--store", str(store.root)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(committed(store)) < 8 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    reused = len(committed(store))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["reused_rows"] == reused >= 8
    rows = list(store.version("killed").read())
    assert len(rows) == len({row.key for row in rows})
    assert {row.key: comparable(row) for row in rows} == expected
