"""The main job for real: pocket engine, sandbox, verifier, filters, store."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.records import Ending, Outcome, Program, Trajectory
from tests.jobs.generating import (
    DATASET,
    command,
    comparable,
    kill_when_committed,
    make_all,
)
from tests.jobs.sandboxes import FaultySandbox
from tirgen.data.load import load_problems
from tirgen.engine.errors import EngineMisconfigured
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.settings import load_settings


def settings(**changes: object) -> GenerateConfig:
    few = {"dataset": "t", "problems.limit": 24, "attempts": 2, "cot_samples": 2}
    return load_settings(GenerateConfig, None, {**few, **changes})


def logprobs(rows: list[Trajectory]) -> list[float]:
    return [value for row in rows for value in row.tokens.logprobs if value is not None]


@pytest.fixture(scope="module")
def alone(served: dict[str, object]) -> list[Trajectory]:
    return asyncio.run(make_all(settings(**served), 12, together=False))


def test_a_trajectory_does_not_depend_on_its_batch_mates(
    alone: list[Trajectory], served: dict[str, object]
) -> None:
    """Method C2: text, tokens, mask and outcomes are the same alone and among many."""
    among_many = asyncio.run(make_all(settings(**served), 12, together=True))
    assert list(map(comparable, among_many)) == list(map(comparable, alone))
    assert logprobs(among_many) == pytest.approx(logprobs(alone), abs=1e-4)


def test_trained_ids_are_engine_ids_and_injected_ids(alone: list[Trajectory]) -> None:
    """Method C3: where the actor's log-probability is recorded the token is policy."""
    for row in alone:
        stream = row.tokens
        assert len(stream.token_ids) > stream.prompt_length
        for logprob, policy in zip(stream.logprobs, stream.loss_mask, strict=True):
            assert policy or logprob is None
        assert not any(stream.loss_mask[: stream.prompt_length])


def test_lost_sandbox_calls_change_no_verdict_and_no_filter(
    alone: list[Trajectory], served: dict[str, object]
) -> None:
    """Method C7: a persistent fault discards its row and touches no other."""
    rows = asyncio.run(make_all(settings(**served), 12, together=False, sandbox_of=FaultySandbox))
    lost = [row for row in rows if row.ending is Ending.SANDBOX_ERROR]
    assert lost
    for row in lost:
        assert row.verdict is None
        assert next(v.rule for v in row.filters if not v.kept) == "infrastructure"
        assert all(step.outcome is not Outcome.INFRA_ERROR for step in row.steps)
    sound = {row.key: comparable(row) for row in rows if row not in lost}
    assert all(sound[row.key] == comparable(row) for row in alone if row.key in sound)


def test_a_generation_publishes_and_the_same_command_reuses_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    report = asyncio.run(generate(settings(**{"problems.limit": 12}), store))
    assert report.version.manifest["rows"] == report.progress.trajectories
    assert report.progress.settled == 12
    assert any(row.kept for row in report.version.read())
    assert report.yields[0].entered == report.version.samples

    again = asyncio.run(generate(settings(**{"problems.limit": 12}), store))
    assert again.reused_version
    assert again.version.path == report.version.path
    assert again.progress.trajectories == 0

    more = asyncio.run(generate(settings(**{"problems.limit": 16}), store))
    assert more.progress.reused_rows == report.version.manifest["rows"]
    assert more.version.version == "v2"


def test_what_was_committed_but_never_published_is_published_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: dict[str, object]
) -> None:
    store = Store(tmp_path)
    asyncio.run(generate(settings(**served, **{"problems.limit": 3}), store))
    with monkeypatch.context() as broken:
        broken.setattr("storage.runs.publish", lambda *_, **__: sys.exit("killed while publishing"))
        with pytest.raises(SystemExit):
            asyncio.run(generate(settings(**served, **{"problems.limit": 5}), store))
    report = asyncio.run(generate(settings(**served, **{"problems.limit": 5}), store))
    assert report.progress.trajectories == 0
    assert not report.reused_version
    assert {row.problem.problem_id for row in report.version.read()} == {
        problem.problem_id for problem in load_problems("pocket:test", limit=5).problems
    }


def test_a_corrected_gold_answer_is_judged_anew(tmp_path: Path, served: dict[str, object]) -> None:
    file = tmp_path / "problems.jsonl"
    row = '{"id": 1, "question": "What is the sum of the digits of 42^6?", "answer": "%s"}'
    changes = {**served, "problems.path": str(file), "problems.limit": None, "attempts": 1}
    store = Store(tmp_path / "store")
    file.write_text(row % "-1")
    before = asyncio.run(generate(settings(**changes), store))
    file.write_text(row % "45")
    after = asyncio.run(generate(settings(**changes), store))
    assert not any(row.correct for row in before.version.read())
    assert next(row.problem.answer for row in after.version.read() if row.attempt == 0) == "45"
    assert after.progress.trajectories > 0


def test_a_wrong_address_writes_nothing(tmp_path: Path) -> None:
    config = settings(
        **{
            "actor.kind": "tokens",
            "actor.base_urls": ["http://127.0.0.1:9/v1"],
            "actor.model": "m",
            "actor.tokenizer": str(Path(__file__).parents[2] / "tirgen/embedded/pocket/model"),
        }
    )
    with pytest.raises(EngineMisconfigured, match=r"127\.0\.0\.1:9"):
        asyncio.run(generate(config, Store(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_run_killed_at_any_moment_ends_with_the_same_rows(
    tmp_path: Path, served: dict[str, object]
) -> None:
    """Method C9: the same (problem, attempt) set, nothing twice, nothing asked again."""
    asked = {**served, "problems.limit": 40, "attempts": 2, "cot_samples": 1}
    straight = subprocess.run(
        command(tmp_path / "straight", asked), check=True, capture_output=True
    )
    expected = {
        row.key: comparable(row)
        for row in Store(tmp_path / "straight").version(DATASET).read()
        if row.program is Program.TIRGEN
    }
    store = Store(tmp_path / "killed")
    started = command(store.root, asked)
    reused = [kill_when_committed(wanted, started, store) for wanted in (1, 30)]
    done = subprocess.run(started, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["reused_rows"] == reused[-1] >= 30
    assert f"reusing {reused[-1]} committed trajectories" in done.stderr
    everything = report["trajectories"] + report["baselines"]
    assert report["made_now"] + report["reused_rows"] == everything
    rows = [row for row in store.version(DATASET).read() if row.program is Program.TIRGEN]
    assert len(rows) == len({row.key for row in rows})
    assert {row.key: comparable(row) for row in rows} == expected
    assert json.loads(straight.stdout)["trajectories"] == report["trajectories"]


async def test_a_judge_is_asked_of_every_answer_that_the_rules_call_wrong(
    tmp_path: Path, pocket_url: str, served: dict[str, object]
) -> None:
    """Verdicts stay as they are, and what the judge says stands beside them."""
    store = Store(tmp_path)
    few = {**served, "problems.limit": 12}
    judge = {"kind": "tokens", "base_urls": [pocket_url], "model": "pocket"}
    plain = await generate(settings(dataset="plain", **few), store)
    judged = await generate(settings(dataset="judged", judge=judge, judge_tokens=4, **few), store)
    before, after = list(plain.version.read()), list(judged.version.read())
    assert {(r.key, r.verdict) for r in before} == {(r.key, r.verdict) for r in after}
    assert not any(row.opinion for row in before)
    asked = [row for row in after if row.verdict and not row.verdict.correct and row.final_answer]
    assert asked
    assert {row.opinion and row.opinion.judge_model for row in asked} == {"pocket"}
    assert not any(row.opinion for row in after if row.correct)
