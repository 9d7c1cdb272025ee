"""An evaluation for real: packaged pocket, sandbox, verifier, store, a reward model's server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from storage.datasets import Store
from storage.records import Program
from storage.sql import query
from tests.evaluation.answers import value
from tests.evaluation.scoring_server import scoring_server
from tests.evaluation.test_code_tasks import TASK
from tests.jobs import writing_policy
from tirgen.data.errors import ProblemsError
from tirgen.jobs.evaluate import EvaluationReport, evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.verification.verdicts import compares_answers

SAMPLES, STEPS, TASKS = 3, 6, 2
JUDGED = {"pass_at": [1, 3], "best_of": 3, "judge": {}, "judge_tokens": 4, "resamples": 200}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    writing_policy.write_steps(folder / "steps.jsonl", STEPS)
    tasks = [TASK | {"task_id": f"T/{n}"} for n in range(TASKS)]
    (folder / "tiny.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return folder


def settings(folder: Path, analysis: dict[str, Any], **changes: Any) -> EvaluationConfig:
    return EvaluationConfig.model_validate(
        {
            "benchmarks": [{"path": str(folder / "steps.jsonl")}],
            "code_benchmarks": [{"path": str(folder / "tiny.jsonl")}],
            "prompts": writing_policy.WRITER.name,
            "samples": SAMPLES,
            "loop": {"tokens": 300, "tool_rounds": 10, "stop_at_failure": False},
            "analysis": analysis,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store(folder / "store")


@pytest.fixture(scope="module")
def report(folder: Path, store: Store) -> EvaluationReport:
    async def run() -> EvaluationReport:
        async with scoring_server() as (url, server):
            reward = {"base_url": url, "model": "rm"}
            made = await evaluate(settings(folder, {**JUDGED, "reward_model": reward}), store)
            assert server.requests
        return made

    return asyncio.run(run())


def test_every_sample_lands_in_the_store(report: EvaluationReport) -> None:
    rows = list(report.version.read())
    assert len(rows) == SAMPLES * (STEPS + TASKS)
    assert {row.program for row in rows} == {Program.ROLLOUT, Program.COT}
    code = [row for row in rows if row.problem.source == "tiny"]
    assert all(row.verdict and row.verdict.method == "tests" for row in code)
    assert report.progress.rollouts == len(rows)


def test_there_is_one_result_a_benchmark_and_the_manifest_has_them(
    report: EvaluationReport,
) -> None:
    steps, tiny = report.results
    assert (steps.benchmark, steps.problems, steps.samples) == ("steps", STEPS, STEPS * SAMPLES)
    assert (tiny.benchmark, tiny.problems, tiny.majority_at) == ("tiny", TASKS, {})
    assert value(steps.code_ratio) > 0.5
    assert steps.programs > 0
    assert steps.tokens_per_sample
    assert steps.tokens_per_sample.low <= steps.tokens_per_sample.value
    assert steps.best_of is not None
    stored = report.version.manifest["summary"]["results"]
    assert [each["benchmark"] for each in stored] == ["steps", "tiny"]


def test_both_verdicts_are_stored(report: EvaluationReport, store: Store) -> None:
    sql = "SELECT correct, judge_model, count(*) AS n FROM trajectories GROUP BY ALL"
    found = query(store, sql).to_pylist()
    judged = sum(row["n"] for row in found if row["judge_model"] == "pocket")
    wrong = [row for row in report.version.read() if row.final_answer and not row.correct]
    assert judged == sum(compares_answers(row.verdict) for row in wrong if row.verdict)
    assert all(row["judge_model"] is None for row in found if row["correct"])


def test_another_question_of_the_same_samples_asks_the_policy_for_nothing(
    folder: Path, store: Store, report: EvaluationReport
) -> None:
    config = settings(folder, {"pass_at": [2], "resamples": 100})
    again = asyncio.run(evaluate(config, store))
    assert again.progress.rollouts == 0
    assert not again.reused_version
    assert list(again.results[0].pass_at) == [2]
    assert value(again.results[0].accuracy_by_rules) == value(report.results[0].accuracy_by_rules)
    third = asyncio.run(evaluate(config, store))
    assert third.reused_version
    assert third.results == again.results
    assert third.version.path == again.version.path


@pytest.mark.parametrize(
    ("analysis", "changes", "why"),
    [
        ({"pass_at": [4]}, {}, "pass_at 4 needs"),
        ({"best_of": 4}, {}, "best_of 4 is more"),
        ({"best_of": 2}, {"correction": {}}, "correction repairs"),
        ({}, {"benchmarks": [], "code_benchmarks": []}, "needs benchmarks"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    folder: Path, analysis: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        settings(folder, analysis, **changes)


def test_benchmarks_of_one_name_are_refused(folder: Path, store: Store) -> None:
    twice = [{"path": str(folder / "steps.jsonl")}] * 2
    with pytest.raises(ProblemsError, match="rename"):
        asyncio.run(evaluate(settings(folder, {}, benchmarks=twice), store))
