"""Stored trajectories filtered and verified again: new versions, old ones untouched."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.checking import flaws
from storage.datasets import Store
from storage.records import Ending, Outcome, Program, Step, Trajectory, Verdict
from storage.sql import query
from storage.versions import DatasetVersion
from tests.rows import row
from tirgen.data.errors import ProblemsError
from tirgen.jobs.curate import CurationReport, curate_config, curate_version
from tirgen.settings import ConfigError
from tirgen.tir.markup import response_text
from tirgen.verification.verdicts import OFF_FORMAT, TESTS

LOOP = "print(sum(n for n in range(10)))"
CONFIG: dict[str, Any] = {"filters": {"keep_share_by_calls": {}}, "seed": 3}


def solved(problem: str, calls: int = 2, answer: str = "45", **fields: Any) -> Trajectory:
    step = Step(thought="We sum.", action=LOOP, observation="45", outcome=Outcome.OK)
    steps = (*[step] * calls, Step(thought=f"So it is $\\boxed{{{answer}}}$."))
    right = Verdict(correct=True, method="exact", reason="as published")
    made = row(problem)
    whose = replace(made.problem, question=f"{problem}: what is the sum below 10?", answer="45")
    return replace(
        made, problem=whose, steps=steps, final_answer=answer, verdict=right, filters=(), **fields
    )


def a_version(tmp_path: Path, rows: list[Trajectory]) -> tuple[Store, DatasetVersion]:
    store = Store(tmp_path)
    return store, store.open_run("d", CONFIG, "h").publish(rows, {})


def again(
    store: Store, source: DatasetVersion, verify: bool = False, **overrides: Any
) -> CurationReport:
    config = curate_config(source, None, {k.replace("__", "."): v for k, v in overrides.items()})
    return asyncio.run(curate_version(store, source, config, again=verify))


def rows_of(curation: CurationReport) -> list[Trajectory]:
    assert curation.version is not None
    return list(curation.version.read())


def test_other_filters_make_a_version_that_names_the_one_it_was_made_from(tmp_path: Path) -> None:
    store, source = a_version(tmp_path, [solved("a", 1), solved("b", 3)])
    again(store, source)
    curation = again(store, source, filters__minimum_calls=2)
    assert curation.version is not None
    assert str(curation.version) == "d@v3"
    assert curation.version.manifest["made_from"] == "d@v1"
    assert curation.version.manifest["config"]["seed"] == 3
    lineage = query(store, "select version, made_from, kept_rows from datasets order by version")
    assert lineage.to_pylist()[1:] == [
        {"version": "v2", "made_from": "d@v1", "kept_rows": 2},
        {"version": "v3", "made_from": "d@v1", "kept_rows": 1},
    ]


def test_rejected_rows_stay_with_their_reasons(tmp_path: Path) -> None:
    store, source = a_version(tmp_path, [solved("a", 1), solved("b", 3)])
    again(store, source, filters__minimum_calls=2)
    why = query(store, "select problem_id, reason from filters where not kept").to_pylist()
    assert why == [{"problem_id": "a", "reason": "1 calls"}]


def test_the_same_curation_is_published_once(tmp_path: Path) -> None:
    store, source = a_version(tmp_path, [solved("a", 1)])
    first, second = (again(store, source, filters__minimum_calls=2) for _ in range(2))
    assert (first.reused, second.reused) == (False, True)
    assert second.version == first.version


def test_two_identical_curations_at_once_publish_one_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow publication: without a lease the second one would not find the first one's version."""
    store, source = a_version(tmp_path, [solved("a", 1)])
    derive = Store.derive

    def slowly(*args: Any) -> DatasetVersion:
        time.sleep(1)
        return derive(*args)

    monkeypatch.setattr(Store, "derive", slowly)
    with ThreadPoolExecutor(2) as threads:
        tasks = [threads.submit(again, store, source, filters__minimum_calls=2) for _ in range(2)]
    reports = [task.result() for task in tasks]
    assert sorted(report.reused for report in reports) == [False, True]
    assert [version.version for version in store.versions("d")] == ["v1", "v2"]


def test_a_generation_still_finds_its_own_version(tmp_path: Path) -> None:
    store, source = a_version(tmp_path, [solved("a")])
    again(store, source, verify=True)
    run = store.find_run("d", "h")
    assert run is not None
    assert run.published == source


def test_verifying_again_mends_verdicts_and_leaves_lost_rows_unjudged(tmp_path: Path) -> None:
    wrong = replace(solved("b"), verdict=Verdict(correct=False, method="old", reason="old"))
    stale = solved("a", answer="46")
    lost = replace(solved("c"), verdict=None, ending=Ending.ENGINE_ERROR)
    store, source = a_version(tmp_path, [stale, wrong, lost])
    curation = again(store, source, verify=True)
    assert {c.trajectory_id: c.after.correct for c in curation.changed} == {
        stale.trajectory_id: False,
        wrong.trajectory_id: True,
    }
    assert [r.problem.problem_id for r in rows_of(curation) if r.kept] == ["b"]
    assert next(r for r in rows_of(curation) if r.problem.problem_id == "c").verdict is None


def test_verifying_again_keeps_the_precision_of_the_version_unless_told_otherwise(
    tmp_path: Path,
) -> None:
    made = solved("a", answer="0.333333")
    third = replace(made, problem=replace(made.problem, answer="1/3"))
    store = Store(tmp_path)
    source = store.open_run("d", {**CONFIG, "exact_digits": 6}, "h").publish([third], {})
    assert again(store, source, verify=True).changed == []
    (change,) = again(store, source, verify=True, exact_digits=7).changed
    assert not change.after.correct


@pytest.mark.parametrize("method", [TESTS, OFF_FORMAT])
def test_what_something_else_than_the_answer_decided_is_not_verified_again(
    tmp_path: Path, method: str
) -> None:
    decided = Verdict(correct=False, method=method, reason="as it was")
    store, source = a_version(tmp_path, [replace(solved("a"), verdict=decided)])
    (row,) = rows_of(again(store, source, verify=True))
    assert row.verdict == decided


def test_the_text_of_a_response_has_its_programs_and_outputs() -> None:
    assert response_text(solved("a", 1).steps) == (
        f"We sum.\n```python\n{LOOP}\n```\n```output\n45\n```\nSo it is $\\boxed{{45}}$."
    )


def test_an_imported_answer_may_be_announced_without_a_box(tmp_path: Path) -> None:
    unboxed = (Step(thought="The answer is 45."),)
    store, source = a_version(
        tmp_path,
        [
            replace(solved("a"), steps=unboxed),
            replace(solved("b"), steps=unboxed, program=Program.IMPORTED),
        ],
    )
    judged = rows_of(again(store, source, verify=True))
    assert {r.program: r.correct for r in judged} == {
        Program.TIRGEN: False,
        Program.IMPORTED: True,
    }


def test_contamination_is_reported_by_what_matched_what(tmp_path: Path) -> None:
    clean = solved("b")
    clean = replace(clean, problem=replace(clean.problem, question="How many primes are even?"))
    store, source = a_version(tmp_path, [solved("a"), clean])
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"question": "A: what is the SUM below ten?", "answer": "45"}))
    curation = again(store, source, filters__against=[str(bench)])
    (match,) = curation.matches
    assert (match.problem.problem_id, match.rule) == ("a", "contaminated")
    assert match.matched.startswith("exact: bench-")
    assert curation.kept == 1


def test_a_missing_benchmark_publishes_nothing(tmp_path: Path) -> None:
    store, source = a_version(tmp_path, [solved("a")])
    with pytest.raises(ProblemsError, match="does not exist"):
        again(store, source, filters__against=["/nowhere.jsonl"])
    assert store.versions("d") == [source]


def test_a_file_of_settings_changes_only_what_it_names(tmp_path: Path) -> None:
    _, source = a_version(tmp_path, [solved("a")])
    file = tmp_path / "curate.toml"
    file.write_text("[filters]\nminimum_calls = 2\n")
    config = curate_config(source, file, {"filters.minimum_code_lines": 4})
    assert (config.seed, config.filters.keep_share_by_calls) == (3, {})
    assert (config.filters.minimum_calls, config.filters.minimum_code_lines) == (2, 4)
    file.write_text("[filter]\nminimum_calls = 2\n")
    with pytest.raises(ConfigError, match="filter"):
        curate_config(source, file, {})


def test_a_judge_looks_at_stored_rows_that_the_rules_call_wrong(tmp_path: Path) -> None:
    """The pocket says no to everything, or nothing that is an answer: nothing else changes."""
    wrong = solved("b", answer="46", attempt=0)
    wrong = replace(wrong, verdict=Verdict(correct=False, method="exact", reason="45 vs 46"))
    store, source = a_version(tmp_path, [solved("a"), wrong])
    curation = again(store, source, judge={}, judge_tokens=4)
    asked = {row.problem.problem_id: row.opinion for row in rows_of(curation)}
    assert asked["a"] is None
    assert asked["b"] is not None
    assert asked["b"].judge_model == "pocket"
    assert curation.version is not None
    assert [row.opinion for row in curation.version.read() if row.opinion] == [asked["b"]]


CURATING = """
import asyncio, sys
from pathlib import Path
from storage.datasets import Store
from tirgen.jobs.curate import curate_config, curate_version
store = Store(Path(sys.argv[1]))
for calls in range(int(sys.argv[2]), 1_000):
    source = store.version("d@v1" if calls % 2 else "d")
    config = curate_config(source, None, {"filters.minimum_calls": calls})
    asyncio.run(curate_version(store, source, config))
    print(calls, flush=True)
"""


def test_killed_curations_leave_whole_versions_and_nothing_half_done(tmp_path: Path) -> None:
    rng, rows = random.Random(1), 150
    store, source = a_version(tmp_path, [solved(f"p{n:03}", 1 + n % 4) for n in range(rows)])
    wanted = [row.problem.problem_id for row in source.read()]
    for kill in range(4):
        command = [sys.executable, "-c", CURATING, str(tmp_path), str(10 * kill)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.05, 0.7))
            process.kill()
        assert list(flaws(store, "d")) == []
        for version in store.versions("d"):
            assert [row.problem.problem_id for row in version.read()] == wanted
    versions = store.versions("d")
    assert len(versions) > 4
    assert len({part.rows.path.stat().st_ino for v in versions for part in v.parts}) == 1
    assert again(store, source, filters__minimum_calls=1).version is not None
