"""Every order of calls of writers, a compactor, publishers and readers, and a kill at each call.

Nothing acknowledged is lost, nothing is there twice, nothing half-written is seen, a version never
changes, and readers always succeed. `tests.storage.exploring` says what an order is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from storage import compaction, retention, runs
from storage.checksums import StoredFile, checksums
from storage.commits import BATCHES, LOG, Commits, read_commits
from storage.compaction import Compactor
from storage.datasets import Store
from storage.errors import NotFound
from storage.numbered import Version
from storage.parquet import read_columns, write_batch
from storage.records import Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion, every_version, removed_versions
from tests.rows import row
from tests.storage.exploring import Explored, Kill, World, explore, unobserved
from tests.storage.file_calls import calls_stop, disk

COMMITTED = ("p0", "p1", "p2")
"""Problems of the rows that are there at the beginning: two are in a merged file, one is not."""


@pytest.fixture(autouse=True)
def no_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB writes its own file, which no other part of the store reads."""
    for module in (runs, retention):
        monkeypatch.setattr(module, "refresh", lambda root: None)


@pytest.fixture(autouse=True)
def no_locks_between_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Actors stand for processes. In Python 3.11 a cached property has a lock for all threads."""
    for owner, name in ((Version, "manifest"), (DatasetVersion, "parts")):
        monkeypatch.setattr(vars(owner)[name], "lock", nullcontext(), raising=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that is possible: thousands of stores are made in it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def made(problem: str) -> Trajectory:
    return row(problem, kept=True, created_at=1.0)


def commit(run: Path, problem: str) -> None:
    """As `Run.append`, which would start a compactor of its own."""
    name = sha256(problem.encode()).hexdigest()[:24] + ".parquet"
    write = partial(write_batch, trajectories=[made(problem)])
    Commits(run).commit(name, 1, write)
    with unobserved():
        [found] = [one for one in read_commits(run / LOG).commits if name in one.names]
        assert disk.has(found.file.path)
        assert disk.has_of(run / LOG, name.encode())


def first(root: Path) -> Path:
    """A store with a run: two of its files were merged long ago and are due to be removed."""
    run = Run(root, "d", {}, "h").folder
    with unobserved():
        for problem in COMMITTED:
            name = sha256(problem.encode()).hexdigest()[:24] + ".parquet"
            Commits(run).commit(name, 1, partial(write_batch, trajectories=[made(problem)]))
    assert Compactor(run, fan_in=2).compact() == 1
    orphan = run / BATCHES / f"{'a' * 24}.parquet"
    orphan.touch()
    long_ago = time.time() - compaction.ORPHAN_SECONDS - 60
    for path in (run / BATCHES).iterdir():
        os.utime(path, (long_ago, long_ago))
    return root


def emptied(root: Path) -> Path:
    """The place of the next world: nothing is there, nor on the disk."""
    shutil.rmtree(root, ignore_errors=True)
    disk.forget()
    return root


class Writing(World):
    """Two writers, a compactor and a publisher of one run, or some of these."""

    def __init__(self, folder: Path, actors: Iterable[str]) -> None:
        self.root = emptied(folder / "world")
        shutil.copytree(folder / "first", self.root, symlinks=True)
        self.run = Run(self.root, "d", {}, "h")
        self.dataset = self.root / "datasets" / "d"
        self.acknowledged = set(COMMITTED)
        self._pictures: dict[Path, dict[str, bytes]] = {}
        every: dict[str, Callable[[], object]] = {
            "one": partial(self._write, "one"),
            "two": partial(self._write, "two"),
            "compactor": self._compact,
            "publisher": self._publish,
        }
        super().__init__({name: every[name] for name in actors})

    def _write(self, problem: str) -> None:
        commit(self.run.folder, problem)
        self.acknowledged.add(problem)

    def _compact(self) -> None:
        Compactor(self.run.folder, fan_in=2).compact()

    def _publish(self) -> None:
        run = Run(self.root, "d", {}, "h")
        with unobserved():
            before = set(self.acknowledged)
        version = run.publish(run.reader(in_order=True)(), {"problems": 1}, in_order=True)
        with unobserved():
            assert before <= set(problems(version.files))
            for path in (*version.files, version.path / "manifest.json", version.path):
                assert disk.has(path), path

    def check(self) -> None:
        log = read_commits(self.run.folder / LOG)
        there = [problem for one in log.commits for problem in rows_in(one.file)]
        assert max(Counter(there).values()) == 1
        assert self.acknowledged <= set(there)
        for version in every_version(self.dataset):
            picture = {path.name: path.read_bytes() for path in version.path.iterdir()}
            assert self._pictures.setdefault(version.path, picture) == picture
            version.check_present()
            found = problems(version.files)
            assert sorted(found) == sorted(there[: version.manifest["commits"]])
            assert version.manifest["rows"] == len(found)
        latest = self.dataset / "latest"
        assert not latest.is_symlink() or latest.resolve() in self._pictures

    def finish(self, killed: str | None) -> None:
        """Whoever was killed begins again; then a reader and a check find all that there is."""
        self.check()
        if killed:
            self.actors[killed]()
            self.check()
        Compactor(self.run.folder, fan_in=2).compact()
        self.check()
        assert [one.problem.problem_id for one in self.run.read()] == [
            problem
            for one in read_commits(self.run.folder / LOG).commits
            for problem in rows_in(one.file)
        ]
        assert {one.problem.problem_id for one in self.run.read()} == self.acknowledged
        published = every_version(self.dataset)
        assert bool(published) == ("publisher" in self.actors)
        for version in published:
            assert version.damaged_files() == []
            assert (self.dataset / "latest").resolve() == published[-1].path.resolve()


_rows: dict[tuple[str, str | None], list[str]] = {}


def rows_in(file: StoredFile) -> list[str]:
    """The problems of a committed file, whose content is what its log line says."""
    file.check_present()
    assert checksums(file.path) == file.crc32
    key = (file.name, file.crc32)
    if key not in _rows:
        found = read_columns(file, ["problem_id"])["problem_id"].to_pylist()
        _rows[key] = [str(problem) for problem in found]
    return _rows[key]


def problems(paths: Iterable[Path]) -> list[str]:
    files = (StoredFile(path, path.stat().st_size, checksums(path)) for path in paths)
    return [problem for file in files for problem in rows_in(file)]


class Using(World):
    """Two publishers, a reader of a version, and two that remove what nothing needs."""

    def __init__(self, folder: Path, actors: Iterable[str]) -> None:
        self.root = emptied(folder / "world")
        shutil.copytree(folder / "second", self.root, symlinks=True)
        self.store = Store(self.root)
        self.dataset = self.root / "datasets" / "d"
        self.published: dict[str, str] = {}
        """By version, who has made it."""
        every: dict[str, Callable[[], object]] = {
            "one": partial(self._publish, "one"),
            "two": partial(self._publish, "two"),
            "reader": self._read,
            "remover": self._remove,
            "other remover": self._remove,
        }
        super().__init__({name: every[name] for name in actors})

    def _publish(self, name: str) -> None:
        version = Run(self.root, "d", {}, "h").publish([made(name)], {"by": name})
        with unobserved():
            self.published[version.version] = name
            for path in (*version.files, version.path / "manifest.json", version.path):
                assert disk.has(path), path

    def _read(self) -> None:
        try:
            version = self.store.version("d@v1")
        except NotFound:
            return
        assert [one.problem.problem_id for one in version.read()] == ["p0"]

    def _remove(self) -> None:
        retention.remove(self.store, retention.fates(self.store, "d"))

    def check(self) -> None:
        found = every_version(self.dataset)
        for version in found:
            version.check_present()
            assert version.manifest["version"] == version.version
        made_by = {version.version: version.manifest["summary"]["by"] for version in found}
        assert self.published.items() <= made_by.items()
        there = {one.version for one in (*found, *removed_versions(self.dataset))}
        assert {"v1", "v2"} <= there, "a number may never be given again"

    def finish(self, killed: str | None) -> None:
        self.check()
        if killed:
            self.actors[killed]()
            self.check()
        newest = every_version(self.dataset)[-1]
        assert (self.dataset / "latest").resolve() == newest.path.resolve()


class Opening(World):
    """Two processes open a run that was not there, and a third one looks for it."""

    def __init__(self, folder: Path, actors: Iterable[str]) -> None:
        self.root = emptied(folder / "world")
        self.root.mkdir()
        every: dict[str, Callable[[], object]] = {
            "one": self._open,
            "two": self._open,
            "reader": self._look,
        }
        super().__init__({name: every[name] for name in actors})

    def _open(self) -> None:
        Run(self.root, "d", {"seed": 1}, "h")

    def _look(self) -> None:
        if run := Store(self.root).find_run("d", "h"):
            assert list(run.read()) == []

    def finish(self, killed: str | None) -> None:
        if killed:
            self.actors[killed]()
        run = Store(self.root).find_run("d", "h")
        assert run is not None
        commit(run.folder, "p")
        assert [one.problem.problem_id for one in run.read()] == ["p"]


@pytest.fixture
def stores(folder: Path) -> Path:
    """Where the worlds are made, with the stores that they begin with."""
    first(folder / "first")
    run = Run(folder / "second", "d", {}, "h")
    for problem in ("p0", "p1"):
        run.publish([made(problem)], {"by": problem})
    return folder


def killed(found: Explored, actors: Iterable[str]) -> Iterator[Kill]:
    """A kill at each call of these actors that changes something."""
    for actor in actors:
        for call in range(1, found.changes[actor] + 1):
            yield Kill(actor, call)
            if call in found.writes[actor]:
                yield Kill(actor, call, torn=True)


def explored(make: Callable[[], World], *, kill: Iterable[str]) -> int:
    """How many schedules there are without a kill, and with one at each call of these actors."""
    found = explore(make, calls_stop)
    return found.schedules + sum(
        explore(make, calls_stop, one).schedules for one in killed(found, kill)
    )


FEW: list[tuple[type[Any], tuple[str, ...], tuple[str, ...], int]] = [
    (Writing, ("one", "compactor"), ("one", "compactor"), 50),
    (Writing, ("one", "compactor", "publisher"), (), 20),
    (Using, ("one", "two"), (), 50),
    (Using, ("reader", "remover"), ("reader", "remover"), 20),
    (Using, ("remover", "other remover"), (), 5),
    (Opening, ("one", "reader"), ("one",), 20),
]
"""World, actors, which of them are killed, and a number below that of the schedules."""
ALL: list[tuple[type[Any], tuple[str, ...], tuple[str, ...], int]] = [
    (Writing, ("one", "two", "compactor", "publisher"), ("one", "compactor", "publisher"), 400),
    (Using, ("one", "two", "reader", "remover"), ("one", "reader", "remover"), 100),
    (Opening, ("one", "two", "reader"), ("one",), 50),
]
"""Two writers are alike, so one of them is killed; so are publishers, and those who open a run."""


@pytest.mark.parametrize(
    ("world", "actors", "kill", "least"),
    [*FEW, *(pytest.param(*one, marks=pytest.mark.slow) for one in ALL)],
)
def test_every_order(
    stores: Path,
    world: Callable[[Path, tuple[str, ...]], World],
    actors: tuple[str, ...],
    kill: tuple[str, ...],
    least: int,
) -> None:
    assert explored(lambda: world(stores, actors), kill=kill) > least
