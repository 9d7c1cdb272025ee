"""Writers that are killed for real, at random instants, while a reader looks on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import files
from storage.commits import Commits
from storage.datasets import Store
from storage.parquet import write_batch
from storage.records import Trajectory

Make = Callable[..., Trajectory]

BATCH = 5
WRITERS = """
import dataclasses, os, sys, time
from pathlib import Path
from storage.datasets import Store
from storage.checksums import StoredFile
from storage.parquet import Part
root, what, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for writer in range(count):
    if os.fork():
        continue
    [row] = Part(StoredFile(root / "template.parquet")).trajectories()
    run = Store(root).open_run("demo", {}, "c0ffee")
    for batch in range(100):
        time.sleep(0.1 if batch < 15 else 0)
        name = f"{os.getpid()}-{batch}"
        rows = [dataclasses.replace(row, trajectory_id=f"{name}-{n}") for n in range(5)]
        run.append(rows) if what == "append" else run.publish(rows, {"by": name})
        os.write(1, f"{os.getpid()} {name}\\n".encode())
    time.sleep(600)
for _ in range(count):
    os.wait()
"""


class Writers:
    """Processes that append (or publish), slowly at first, and say what was acknowledged."""

    def __init__(self, root: Path, what: str, count: int) -> None:
        self._count = count
        self._out = root / "acknowledged.txt"
        arguments = [sys.executable, "-c", WRITERS, str(root), what, str(count)]
        with self._out.open("ab") as out:
            self.process = subprocess.Popen(arguments, stdout=out, cwd=Path(__file__).parents[2])

    def acknowledged(self) -> set[str]:
        return {line.split()[1] for line in self._out.read_text().splitlines()}

    def pids(self) -> set[int]:
        return {int(line.split()[0]) for line in self._out.read_text().splitlines()}

    def wait_for(self, batches: int) -> None:
        """Until each writer has committed as many batches as that."""
        deadline = time.monotonic() + 60
        while len(self.acknowledged()) < batches * self._count:
            assert time.monotonic() < deadline, "the writers stand still"
            time.sleep(0.01)

    def kill_all(self, pause: Callable[[], float] = lambda: 0.0) -> None:
        """Each as soon as it has been heard of, until none is left."""
        killed: set[int] = set()
        while self.process.poll() is None:
            for pid in self.pids() - killed:
                time.sleep(pause())
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.01)


@pytest.fixture
def start_writers(tmp_path: Path, make_trajectory: Make) -> Iterator[Callable[..., Writers]]:
    write_batch(tmp_path / "template.parquet", [make_trajectory()])
    started: list[Writers] = []

    def start(what: str, count: int) -> Writers:
        started.append(Writers(tmp_path, what, count))
        return started[-1]

    yield start
    for writers in started:
        if writers.process.poll() is None:
            writers.kill_all()


def batches_seen(store: Store) -> Counter[str]:
    """Rows by batch, as a reader finds them."""
    rows = store.open_run("demo", {}, "c0ffee").read()
    return Counter(row.trajectory_id.rpartition("-")[0] for row in rows)


def test_killed_writers_lose_nothing_acknowledged_and_show_nothing_partial(
    tmp_path: Path, start_writers: Callable[..., Writers]
) -> None:
    store, random_ = Store(tmp_path), random.Random(0)
    for _ in range(2):
        writers = start_writers("append", 8)
        writers.wait_for(1)
        for _ in range(2):
            before = writers.acknowledged()
            seen = batches_seen(store)
            assert set(seen.values()) == {BATCH}
            assert before <= set(seen)
        writers.wait_for(16)
        writers.kill_all(pause=lambda: random_.uniform(0, 0.01))
        (tmp_path / "acknowledged.txt").rename(tmp_path / f"acknowledged-{random_.random()}")
    acknowledged = {
        line.split()[1]
        for path in tmp_path.glob("acknowledged-*")
        for line in path.read_text().splitlines()
    }
    seen = batches_seen(store)
    assert len(acknowledged) > 100
    assert acknowledged <= set(seen)
    assert set(seen.values()) == {BATCH}


def test_killed_publishers_leave_whole_versions_only(
    tmp_path: Path, start_writers: Callable[..., Writers]
) -> None:
    store, random_ = Store(tmp_path), random.Random(0)
    writers = start_writers("publish", 4)
    writers.wait_for(1)
    version = store.version("demo")
    assert len(list(version.read())) == BATCH
    writers.wait_for(4)
    writers.kill_all(pause=lambda: random_.uniform(0, 0.02))
    published = {version.manifest["summary"]["by"]: version for version in store.versions("demo")}
    assert writers.acknowledged() <= set(published)
    assert len(published) == len(store.versions("demo"))
    for version in published.values():
        assert version.damaged_files() == []
        assert version.manifest["version"] == version.version
        assert version.manifest["rows"] == BATCH


def test_every_fragment_of_a_log_line_is_ignored_and_closed_off_by_the_next_writer(
    tmp_path: Path,
) -> None:
    whole = b'\n{"file": "torn", "rows": 1}\n'
    for length in range(len(whole) - 2):
        folder = tmp_path / str(length)
        commits = Commits(folder)
        commits.commit("first", 1, Path.touch)
        with (folder / "log.jsonl").open("ab") as log:
            log.write(whole[:length])
        assert [commit.file.name for commit in commits.committed()] == ["first"]
        commits.commit("next", 1, Path.touch)
        assert [commit.file.name for commit in commits.committed()] == ["first", "next"]


def test_a_file_the_log_does_not_name_is_not_there(tmp_path: Path, make_trajectory: Make) -> None:
    run = Store(tmp_path).open_run("demo", {}, "c0ffee")
    write_batch(run.folder / "batches" / "orphan.parquet", [make_trajectory("p1")])
    run.append([make_trajectory("p2")])
    assert [row.problem.problem_id for row in run.read()] == ["p2"]


def test_a_commit_cut_off_before_its_log_line_is_completed_by_the_retry(
    tmp_path: Path, make_trajectory: Make
) -> None:
    run = Store(tmp_path).open_run("demo", {}, "c0ffee")
    run.append([make_trajectory()])
    (run.folder / "log.jsonl").write_bytes(b"")
    assert list(run.read()) == []
    run.append([make_trajectory()])
    assert list(run.read()) == [make_trajectory()]


def test_a_full_disk_is_an_error_not_a_commit(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        files.append_line(Path("/dev/full"), "{}")


def test_a_failed_write_commits_nothing(tmp_path: Path) -> None:
    commits = Commits(tmp_path)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="on fire"):
        commits.commit("batch", 1, fail)
    assert commits.committed() == []
