"""Publishing sorts in bounded memory: the same rows in the same order as all at once."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage import memory, schema, sorting, versions
from storage.datasets import Store
from storage.records import Step, Trajectory
from tests.rows import row


def rows(count: int) -> list[Trajectory]:
    rng = random.Random(0)
    made = []
    for number in range(count):
        thought = "x" * rng.choice([0, 10, 1_000, 50_000])
        one = row(f"p{rng.randrange(40)}", number, kept=number % 3 == 0)
        made.append(replace(one, dataset="d", steps=(Step(thought=thought),)))
    rng.shuffle(made)
    return made


def publish(root: Path, made: list[Trajectory]) -> versions.DatasetVersion:
    return Store(root).open_run("d", {}, "h").publish(iter(made), {})


@pytest.mark.parametrize("piece", [20_000, 300_000, 10_000_000])
def test_rows_are_sorted_the_same_whatever_fits_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    made = rows(300)
    monkeypatch.setattr(schema, "BATCH_BYTES", 50_000)
    monkeypatch.setenv(memory.VARIABLE, f"{piece * sorting.PIECES / 1e9:f}")
    monkeypatch.setattr(sorting, "SPILLED_BYTES", 60_000)
    monkeypatch.setattr(versions, "GROUP_BYTES", 200_000)
    monkeypatch.setattr(versions, "FILE_ROWS", 120)
    version = publish(tmp_path, made)
    key = ("problem_id", "program", "attempt")
    expected = sorted(made, key=lambda one: (one.problem.problem_id, one.program, one.attempt))
    assert list(version.read()) == expected
    assert version.table(list(key)).num_rows == version.manifest["rows"] == 300
    assert version.manifest["kept_rows"] == sum(one.kept for one in made)
    assert len(version.files) >= 3
    assert sorted(path.name for path in version.path.iterdir()) == [
        "manifest.json", *(path.name for path in version.files)
    ]  # fmt: skip


def test_committed_rows_are_read_in_the_order_of_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rows(200)
    monkeypatch.setenv(memory.VARIABLE, f"{300_000 * sorting.PIECES / 1e9:f}")
    monkeypatch.setattr(versions, "GROUP_BYTES", 200_000)
    monkeypatch.setattr(versions, "FILE_ROWS", 70)
    run = Store(tmp_path).open_run("d", {}, "h")
    for start in range(0, 200, 30):
        run.append(made[start : start + 30])
    again = [replace(one, created_at=2.0) for one in made[:5]]  # the newest row of each counts
    run.append(again)
    read = run.reader(in_order=True)
    run.append([replace(made[0], created_at=3.0)])  # committed after the reader was made
    expected = sorted([*again, *made[5:]], key=lambda one: one.key)
    assert list(read()) == list(read()) == expected
    version = run.publish(read(), {}, in_order=True)
    assert list(version.read()) == expected
    assert len(version.files) > 2
    assert not [path for path in run.folder.iterdir() if path.name.endswith(".tmp")]


def test_a_row_group_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "GROUP_BYTES", 200_000)
    version = publish(tmp_path, rows(200))
    [path] = version.files
    metadata = pq.ParquetFile(path).metadata
    sizes = [metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)]
    assert len(sizes) > 5
    assert max(sizes) < 500_000


def test_rows_that_cannot_be_had_leave_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[Trajectory]:
        yield from rows(5)
        raise OSError("the disk is gone")

    run = Store(tmp_path).open_run("d", {}, "h")
    with pytest.raises(OSError, match="the disk is gone"):
        run.publish(broken(), {})
    assert list((tmp_path / "datasets" / "d" / "versions").iterdir()) == []
