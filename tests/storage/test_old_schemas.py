"""Stores of every schema version so far are read: as records, by SQL, and merged."""

import shutil
from pathlib import Path

import pytest

from storage.checking import flaws
from storage.compaction import Compactor
from storage.datasets import Store
from storage.records import SCHEMA_VERSION, Outcome, Trajectory
from storage.sql import query

STORES = Path(__file__).parent / "schemas"
"""``v3/`` is a store of schema version 3, written by `make.py` with the code of that time."""
VERSIONS = range(1, SCHEMA_VERSION + 1)


@pytest.fixture(params=VERSIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    root = tmp_path / "store"
    shutil.copytree(STORES / f"v{request.param}", root)
    return Store(root)


@pytest.mark.parametrize("name", ["v5-curated"])
def test_verdicts_beside_rows_are_read(tmp_path: Path, name: str) -> None:
    shutil.copytree(STORES / name, tmp_path / "store")
    store = Store(tmp_path / "store")
    check(list(store.version("demo@v1").read()), ["p1", "p2", "p3"])
    curated = store.version("demo@v2")
    dropped = [(one.rule, one.reason) for row in curated.read() for one in row.filters]
    assert dropped == [("late", "too long")] * 3
    sql = "SELECT count(*) AS n, count(*) FILTER (correct) AS right_, bool_or(kept) AS kept"
    found = query(store, f"{sql} FROM trajectories").to_pylist()
    assert found == [{"n": 3, "right_": 2, "kept": False}]
    assert list(flaws(store, "demo")) == []


def check(rows: list[Trajectory], problems: list[str]) -> None:
    assert [row.problem.problem_id for row in rows] == problems
    for row in rows:
        assert (row.schema_version in VERSIONS, row.final_answer) == (True, "42")
        assert row.steps[0].outcome is Outcome.OK
        assert row.steps[0].attempts[0].outcome is Outcome.ERROR
        assert row.verdict is not None
        assert row.verdict.correct == row.kept == (row.problem.problem_id != "p2")
        assert row.tokens.logprobs == (None, -0.5, -0.25)
        assert row.opinion is None


def test_rows_are_read_as_records(store: Store) -> None:
    version = store.version("demo@v1")
    assert version.manifest["schema_version"] in VERSIONS
    check(list(version.read()), ["p1", "p2", "p3"])
    run = store.find_run("demo", "0pen")
    assert run is not None
    check(list(run.read()), ["p4"])
    assert list(flaws(store, "demo")) == []


def test_rows_are_read_by_sql_beside_those_of_today(store: Store) -> None:
    old = store.version("demo")
    store.derive(old, old.found(), lambda: {**old.manifest})
    sql = """SELECT version, count(*) AS n, sum(n_calls) AS calls, count(judge_model) AS judged
        FROM all_trajectories GROUP BY version ORDER BY version"""
    table = query(store, sql)
    assert table.to_pylist() == [
        {"version": "v1", "n": 3, "calls": 3, "judged": 0},
        {"version": "v2", "n": 3, "calls": 3, "judged": 0},
    ]
    [running] = query(store, "SELECT problem_id FROM running").to_pylist()
    assert running == {"problem_id": "p4"}


def test_files_of_old_and_new_schemas_are_merged(store: Store) -> None:
    run = store.open_run("demo", {}, "c0ffee")
    before = list(run.read())
    run.append(before[:1])
    wanted = [*before[1:], before[0]]
    assert list(run.read()) == wanted
    assert Compactor(run.folder, fan_in=3).compact() == 1
    assert list(run.read()) == wanted
