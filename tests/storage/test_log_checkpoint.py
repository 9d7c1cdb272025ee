"""A log that is read from its checkpoint says what the whole log says."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from storage import compaction, log_checkpoint
from storage.checking import flaws
from storage.commits import BATCHES, LOG, CommitLog, read_log
from storage.compaction import Compactor
from storage.datasets import Store
from storage.sql import query
from tests.rows import row


def append(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(line)


def commit(log: Path, name: str, rows: int, **more: str) -> None:
    entry = {"file": name, "rows": rows, "schema": 5, "bytes": 9, "crc32": "00000000", **more}
    append(log, f"\n{json.dumps(entry)}\n")


def same(log: Path) -> None:
    """What a reader from the checkpoint finds is what a reader of all lines finds."""
    one, other = read_log(log), read_log(log, whole=True)
    assert one.commits == other.commits
    assert (one.count, one.cut, one.damaged) == (other.count, other.cut, other.damaged)
    for position in range(one.count + 1):
        assert list(one.after(position)) == list(other.after(position))


@pytest.mark.parametrize("seed", range(12))
def test_any_log_reads_the_same_from_its_checkpoint(tmp_path: Path, seed: int) -> None:
    rng, log = random.Random(seed), tmp_path / LOG
    (tmp_path / BATCHES).mkdir()
    log.touch()
    made: list[str] = []
    writer = CommitLog(log)
    for step in range(120):
        match rng.choice(["commit"] * 6 + ["again", "merge", "cut", "checkpoint", "follow"]):
            case "commit":
                made.append(f"{step:024x}.parquet")
                commit(log, made[-1], rng.randrange(1, 9))
            case "again" if made:
                commit(log, rng.choice(made), 3)
            case "merge" if len(found := read_log(log).commits) > 3:
                start = rng.randrange(len(found) - 2)
                part = found[start : start + rng.randrange(2, 4)]
                rows = sum(one.rows for one in part)
                first, last = part[0].names[0], part[-1].names[1]
                commit(log, f"{rng.getrandbits(64):024x}.parquet", rows, first=first, last=last)
            case "cut":
                append(log, '\n{"file": "0000')
            case "checkpoint":
                writer.update()
                writer.save_checkpoint(0)
            case "follow":  # one that has read before goes on after others have written
                writer = CommitLog(log)
        same(log)
    writer.update()
    writer.save_checkpoint(0)
    assert log_checkpoint.load(log) is not None
    same(log)


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 40 commits in merged files, with a checkpoint, and three commits after it."""
    monkeypatch.setattr(compaction, "CHECKPOINT_COMMITS", 16)
    run = Store(tmp_path).open_run("d", {}, "c0ffee")
    for number in range(40):
        run.append([row(f"p{number}")])
    Compactor(run.folder, fan_in=4).compact()
    for number in range(40, 43):
        run.append([row(f"p{number}")])
    assert log_checkpoint.load(run.folder / LOG) is not None
    return run.folder


def test_the_compactor_leaves_a_checkpoint_that_readers_use(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same(run_folder / LOG)
    lines: list[bytes] = []
    real = CommitLog.take

    def note(log: CommitLog, line: bytes) -> None:
        lines.append(line)
        real(log, line)

    monkeypatch.setattr(CommitLog, "take", note)
    store = Store(tmp_path)
    assert query(store, "SELECT count(*) AS n FROM running").to_pylist() == [{"n": 43}]
    assert len([line for line in lines if line]) == 3


def test_merging_goes_on_from_a_checkpoint(run_folder: Path, tmp_path: Path) -> None:
    run = Store(tmp_path).find_run("d", "c0ffee")
    assert run is not None
    for number in range(43, 80):
        run.append([row(f"p{number}")])
    assert Compactor(run_folder, fan_in=4).compact() > 0
    same(run_folder / LOG)
    assert [one.problem.problem_id for one in run.read()] == [f"p{n}" for n in range(80)]


@pytest.mark.parametrize("place", [0, 4, 9, 20, 60, -1, -9])
def test_a_changed_checkpoint_is_left_out(run_folder: Path, place: int) -> None:
    path = run_folder / log_checkpoint.NAME
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert log_checkpoint.load(run_folder / LOG) is None
    same(run_folder / LOG)
    path.write_bytes(content[: len(content) // 2])
    same(run_folder / LOG)


def test_a_checkpoint_of_another_log_is_left_out(run_folder: Path) -> None:
    log = run_folder / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:20]))
    assert log_checkpoint.load(log) is None
    assert 0 < read_log(log).count < 20
    log.write_bytes(b"".join(lines).replace(b'"rows": 1,', b'"rows": 2,'))
    assert log_checkpoint.load(log) is None


def test_a_check_reads_the_lines_before_the_checkpoint(run_folder: Path, tmp_path: Path) -> None:
    log = run_folder / LOG
    content = log.read_bytes()
    log.write_bytes(content.replace(b'{"file"', b'{"fil"', 1).replace(b"\n\n", b" \n\n", 1))
    assert [flaw.path for flaw in flaws(Store(tmp_path), "d")] == [log]
