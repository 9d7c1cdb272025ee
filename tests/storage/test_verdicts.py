"""Verdicts beside shared rows: a curated version costs its verdicts, and every reader sees them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage import parquet
from storage.checking import flaws
from storage.datasets import Store
from storage.errors import Damaged
from storage.find import Pick, find_trajectory, list_trajectories, matching_ids, pick_trajectories
from storage.records import (
    FilterVerdict,
    Opinion,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
    Verdicts,
)
from storage.retention import fates, remove
from storage.sql import query
from storage.versions import VERDICTS, DatasetVersion

Make = Callable[..., Trajectory]
ROWS = 60
OTHER = FilterVerdict(rule="another", kept=False, reason="odd")
WRONG = Verdict(correct=False, method="judge", reason="now wrong", answer_value="41")
OPINION = Opinion(judge_correct=True, judge_model="j", judge_reason="looks right")


def judged(found: Iterator[Verdicts]) -> Iterator[Verdicts]:
    """Every second row is wrong now and dropped, with an opinion and another final answer."""
    for place, one in enumerate(found):
        if place % 2:
            one = replace(one, verdict=WRONG, opinion=OPINION, final_answer="41", filters=(OTHER,))
        yield one


DESCRIBED: dict[str, Any] = {"run_id": "r", "config_hash": "h", "config": {}, "summary": {}}


@pytest.fixture
def store(tmp_path: Path, make_trajectory: Make, monkeypatch: pytest.MonkeyPatch) -> Store:
    """demo@v1 in several files, and demo@v2 with other verdicts on its rows."""
    monkeypatch.setattr("storage.versions.FILE_ROWS", 25)
    monkeypatch.setattr("storage.versions.ROW_GROUP", 10)
    monkeypatch.setattr(parquet, "ROW_GROUP", 7)
    monkeypatch.setattr(parquet, "READ_ROWS", 4)
    store = Store(tmp_path / "store")
    thought = os.urandom(2_000).hex()
    made = [make_trajectory(f"p{n:02}", steps=(Step(thought=thought),)) for n in range(ROWS)]
    first = store.open_run("demo", {}, "c0ffee").publish(made, {})
    store.derive(first, judged(first.found()), lambda: DESCRIBED)
    return store


def expected(version: DatasetVersion) -> list[Trajectory]:
    rows = list(version.read())
    found = list(judged(map(Verdicts.of, rows)))
    changed = [name for name in Verdicts.__slots__ if name != "trajectory_id"]
    return [
        replace(row, **{name: getattr(one, name) for name in changed})
        for row, one in zip(rows, found, strict=True)
    ]


def test_the_rows_are_shared_and_read_with_their_new_verdicts(store: Store) -> None:
    first, second = store.version("demo@v1"), store.version("demo@v2")
    assert list(second.read()) == expected(first)
    assert all(row.kept for row in first.read())
    assert list(second.found()) == [Verdicts.of(row) for row in second.read()]
    assert (second.manifest["rows"], second.manifest["kept_rows"]) == (ROWS, ROWS // 2)
    assert len(second.parts) == 3
    for old, new in zip(first.parts, second.parts, strict=True):
        assert old.rows.path.samefile(new.rows.path)
        assert new.verdicts is not None
        assert new.verdicts.path.name.startswith(VERDICTS)
    assert list(flaws(store, "demo")) == []


def test_rows_are_read_without_their_tokens(store: Store, make_trajectory: Make) -> None:
    stream = TokenStream(token_ids=(1, 2), loss_mask=(False, True), logprobs=(None, -1.0))
    made = [make_trajectory(f"p{n}", tokens=stream) for n in range(9)]
    version = store.open_run("demo", {}, "tokens").publish(made, {})
    curated = store.derive(version, judged(version.found()), lambda: DESCRIBED)
    for one in (version, curated):
        whole = list(one.read())
        assert {row.tokens for row in whole} == {stream}
        bare = [row for part in one.parts for row in part.trajectories(tokens=False)]
        assert bare == [replace(row, tokens=TokenStream()) for row in whole]


def test_a_curation_costs_its_verdicts(store: Store) -> None:
    def size(version: DatasetVersion) -> int:
        return sum(path.stat().st_size for path in version.path.glob("part-*"))

    second = store.version("demo@v2")
    own = sum(path.stat().st_size for path in second.path.glob(f"{VERDICTS}*"))
    assert own < size(second)
    used = {(path.stat().st_dev, path.stat().st_ino) for path in store.root.rglob("part-*")}
    assert len(used) == len(second.parts)


def test_every_reader_sees_the_verdicts_of_its_version(store: Store) -> None:
    first, second = store.version("demo@v1"), store.version("demo@v2")
    wanted = {row.trajectory_id: row for row in expected(first)}
    sql = """SELECT version, count(*) AS n, count(*) FILTER (kept) AS kept,
        count(*) FILTER (correct) AS correct, count(judge_model) AS judged
        FROM all_trajectories GROUP BY version ORDER BY version"""
    counts = [("v1", ROWS, ROWS, ROWS, 0), ("v2", ROWS, ROWS // 2, ROWS // 2, ROWS // 2)]
    assert [tuple(row.values()) for row in query(store, sql).to_pylist()] == counts
    with duckdb.connect(store.root / "tirgen.duckdb", read_only=True) as client:
        assert client.execute(sql).fetchall() == counts
        assert client.execute("SELECT rule, dropped FROM yields WHERE version = 'v2'").fetchall()
    wrong = next(row for row in wanted.values() if not row.kept)
    assert find_trajectory(store, wrong.trajectory_id) == wrong
    assert {
        one["trajectory_id"] for one in list_trajectories(store, "demo@v2", "not kept", 99)
    } == {name for name, row in wanted.items() if not row.kept}
    picked = pick_trajectories(store, "demo@v2", "true", 99, pick=Pick.ALL)
    assert {one.trajectory.trajectory_id: one.trajectory for one in picked} == wanted
    names = ["trajectory_id", "attempt", "filters.list.element.kept", "correct"]
    shared = [row for part in range(3) for batch in second.batches(names, part, 3)
              for row in batch.to_pylist()]  # fmt: skip
    by_id = sorted(second.table(names).to_pylist(), key=str)
    assert sorted(shared, key=str) == by_id
    assert len(matching_ids(store, "demo@v2", "kept")) == ROWS // 2
    columns = ["problem_id", "correct", "filters.list.element.kept", "final_answer"]
    assert second.table(columns).to_pylist() == [
        {
            "problem_id": row.problem.problem_id,
            "correct": row.correct,
            "filters": [{"kept": one.kept} for one in row.filters],
            "final_answer": row.final_answer,
        }
        for row in wanted.values()
    ]


def test_a_curation_of_a_curation_has_only_its_own_verdicts(store: Store) -> None:
    second = store.version("demo@v2")
    again = (replace(one, filters=()) for one in second.found())
    third = store.derive(second, again, lambda: DESCRIBED)
    assert list(third.read()) == [replace(row, filters=()) for row in second.read()]
    assert len(list(third.path.glob(f"{VERDICTS}*"))) == len(third.parts)
    sql = "SELECT count(*) FILTER (kept) AS kept, count(*) FILTER (correct) AS n FROM trajectories"
    assert query(store, sql).to_pylist() == [{"kept": ROWS, "n": ROWS // 2}]


def test_a_query_of_a_version_reads_no_verdicts_of_others(store: Store) -> None:
    second = store.version("demo@v2")
    for _ in range(2):
        store.derive(second, second.found(), lambda: DESCRIBED)
    damaged = next(store.version("demo@v3").path.glob(f"{VERDICTS}*"))
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    sql = """SELECT count(*) FILTER (kept) AS n FROM all_trajectories
        WHERE dataset = 'demo' AND version = '{}'"""
    assert query(store, sql.format("v2")).to_pylist() == [{"n": ROWS // 2}]
    with pytest.raises(Damaged, match="demo@v3"):
        query(store, sql.format("v3"))


def test_a_damaged_file_of_verdicts_is_found_and_costs_its_version(store: Store) -> None:
    path = next(store.version("demo@v2").path.glob(f"{VERDICTS}*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [flaw.path for flaw in flaws(store, "demo")] == [path]
    with pytest.raises(Damaged, match="demo@v2"):
        list(store.version("demo@v2").read())
    assert len(list(store.version("demo@v1").read())) == ROWS
    path.unlink()
    with pytest.raises(Damaged, match="is missing"):
        store.version("demo@v2")


def test_the_rows_stay_when_the_version_they_came_from_goes(store: Store) -> None:
    wanted = expected(store.version("demo@v1"))
    done = remove(store, fates(store))
    assert [str(fate.version) for fate in done if fate.stays is None] == ["demo@v1"]
    assert sum(fate.size for fate in done) < 2_000  # the manifest: the rows are not freed
    assert list(store.version("demo").read()) == wanted
    assert query(store, "SELECT count(*) AS n FROM all_trajectories").to_pylist() == [{"n": ROWS}]


@pytest.mark.parametrize(
    "change", [lambda all: all[1:], lambda all: all[::-1], lambda all: all * 2]
)
def test_verdicts_of_other_rows_are_refused_and_nothing_is_published(
    store: Store, change: Callable[[list[Verdicts]], list[Verdicts]]
) -> None:
    first = store.version("demo@v1")
    with pytest.raises(ValueError, match="verdict"):
        store.derive(first, change(list(first.found())), lambda: DESCRIBED)
    assert [version.version for version in store.versions("demo")] == ["v1", "v2"]
    assert sorted(path.name for path in (first.path.parent).iterdir()) == ["v1", "v2"]


def test_verdicts_that_lie_beside_other_rows_are_no_verdicts(store: Store) -> None:
    second = store.version("demo@v2")
    one, other = second.parts[:2]
    assert one.verdicts is not None
    with pytest.raises(Damaged, match="is not of the rows"):
        list(parquet.Part(other.rows, one.verdicts).trajectories())


def test_a_file_system_without_second_names_gets_a_copy(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, path: Path) -> None:
        raise OSError(errno.EPERM, "not here")

    first = store.version("demo@v1")
    with monkeypatch.context() as patched:
        patched.setattr("storage.disk.os.link", refuse)
        third = store.derive(first, judged(first.found()), lambda: DESCRIBED)
    assert not third.parts[0].rows.path.samefile(first.parts[0].rows.path)
    assert list(third.read()) == expected(first)


def test_a_store_that_was_copied_is_whole(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "copy", symlinks=True)
    copied = Store(tmp_path / "copy")
    assert list(flaws(copied, "demo")) == []
    assert list(copied.version("demo@v2").read()) == list(store.version("demo@v2").read())
