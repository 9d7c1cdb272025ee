"""Reasoning mode for real: the pocket that thinks, its critic, the sandbox, the store."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.records import Ending, Program, Trajectory
from storage.sql import query
from tests.jobs.generating import (
    DATASET,
    command,
    comparable,
    kill_when_committed,
    make_all,
)
from tirgen.embedded.models import THINKING_DIR
from tirgen.engine.renderer import HfRenderer
from tirgen.jobs.generate import GenerationReport, generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.settings import ConfigError, load_settings
from tirgen.tir.prompts import BUDGET_SENTENCE


def settings(**changes: object) -> GenerateConfig:
    base = {"dataset": "t", "mode": "reasoning", "problems.limit": 18, "attempts": 2}
    return load_settings(GenerateConfig, None, {**base, "cot_samples": 2, **changes})


def told(row: Trajectory) -> str:
    return "\n".join(step.thought for step in row.steps)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[GenerationReport, Store]:
    store = Store(tmp_path_factory.mktemp("reasoning"))
    return asyncio.run(generate(settings(), store)), store


def test_the_embedded_default_thinks_runs_programs_and_publishes(
    published: tuple[GenerationReport, Store],
) -> None:
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


def test_baselines_think_without_tools(published: tuple[GenerationReport, Store]) -> None:
    report, _ = published
    baselines = [row for row in report.version.read() if row.program is Program.COT]
    assert baselines
    for row in baselines:
        assert told(row).startswith("<think>")
        assert not row.calls


def test_the_same_command_reuses_what_is_published(
    published: tuple[GenerationReport, Store],
) -> None:
    report, store = published
    again = asyncio.run(generate(settings(), store))
    assert again.reused_version
    assert again.progress.trajectories == 0
    assert again.version.path == report.version.path


def test_trained_ids_are_engine_ids_and_injected_ids(
    published: tuple[GenerationReport, Store],
) -> None:
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


def test_a_trajectory_does_not_depend_on_its_batch_mates(
    served_thinking: dict[str, object],
) -> None:
    config = settings(**served_thinking)
    alone = asyncio.run(make_all(config, 6, together=False))
    together = asyncio.run(make_all(config, 6, together=True))
    assert list(map(comparable, together)) == list(map(comparable, alone))


def test_a_small_budget_ends_thinking_and_the_actor_answers(
    served_thinking: dict[str, object],
) -> None:
    config = settings(**served_thinking, **{"thinking.tokens": 40})
    rows = asyncio.run(make_all(config, 18, together=True))
    ended = [row for row in rows if BUDGET_SENTENCE in told(row)]
    assert len(ended) > 9
    assert sum(row.final_answer is not None for row in ended) > len(ended) / 2
    for row in ended:
        thinking, _, answer = told(row).partition("</think>")
        assert thinking.rstrip().endswith(BUDGET_SENTENCE)
        assert row.ending is Ending.TOKEN_LIMIT or answer.strip()


def test_an_actor_without_token_ids_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"actor\.kind = tokens"):
        settings(**{"actor.kind": "chat", "actor.base_urls": ["http://h/v1"], "actor.model": "m"})


def test_settings_of_the_other_mode_do_not_name_a_run() -> None:
    def named(**changes: object) -> str:
        return load_settings(GenerateConfig, None, dict(changes)).fingerprint()

    assert named() == named(**{"thinking.tokens": 50})
    assert named(mode="reasoning") != named()
    assert named(mode="reasoning") != named(mode="reasoning", **{"thinking.tokens": 50})


def test_a_run_killed_in_the_middle_ends_with_the_same_rows(
    tmp_path: Path, served_thinking: dict[str, object]
) -> None:
    asked = {**served_thinking, "mode": "reasoning", "problems.limit": 16, "attempts": 2}
    asked |= {"cot_samples": 1}
    subprocess.run(command(tmp_path / "straight", asked), check=True, capture_output=True)
    expected = {
        row.key: comparable(row) for row in Store(tmp_path / "straight").version(DATASET).read()
    }
    store = Store(tmp_path / "killed")
    started = command(store.root, asked)
    reused = kill_when_committed(8, started, store)
    done = subprocess.run(started, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["reused_rows"] == reused >= 8
    rows = list(store.version(DATASET).read())
    assert len(rows) == len({row.key for row in rows})
    assert {row.key: comparable(row) for row in rows} == expected
