"""The committed files of a store as DuckDB sees them: a file system that holds nothing else.

``tirgen://published/<schema>/dataset=NAME/version=vN/part-00000.parquet``
``tirgen://published-rows/<schema>/dataset=NAME/version=vN/part=0/part-00000.parquet`` and
``tirgen://published-verdicts/<schema>/dataset=NAME/version=vN/part=0/verdicts-00000.parquet``
``tirgen://latest/...`` and so on, of the latest version of each dataset
``tirgen://running/<schema>/dataset=NAME/run=HASH/commit=00000007/skip=0/FILE.parquet``
``tirgen://idle/NAME/runs/HASH/idle/CALL.jsonl``

The names in a path are columns, by which DuckDB passes over files without opening them. Which files
there are is told by manifests and logs, and every block that is read is verified.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from io import BytesIO, IOBase
from pathlib import Path
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem

from storage import documents
from storage.checksums import CheckedFile, StoredFile
from storage.commits import LOG, Commit, read_commits
from storage.errors import Damaged, StoreError
from storage.idle import IDLE, idle_files
from storage.names import folders
from storage.versions import DatasetVersion, every_version, removed_versions

PROTOCOL = "tirgen://"
PUBLISHED, LATEST, RUNNING = "published", "latest", "running"
ROWS, VERDICTS = "-rows", "-verdicts"
"""Endings of the folders with rows that have their verdicts beside them, and with these."""
_UNKNOWN = 0
"""Stands for the schema version of files whose log does not say it."""


class Catalog:
    """Versions and unpublished commits of the store below `root`, read when they are asked for."""

    def __init__(self, root: Path, left_out: Collection[str] = ()) -> None:
        """`left_out` are versions (``demo@v2``) and datasets (``demo``, for its runs) to skip."""
        self._datasets = folders(root / "datasets")
        self._left_out = left_out

    @cached_property
    def published(self) -> list[DatasetVersion]:
        """Every version, by dataset, oldest first. Raises Damaged."""
        return list(self._whole(version for found in self.by_dataset for version in found))

    @cached_property
    def latest(self) -> list[DatasetVersion]:
        """The latest version of each dataset; where it is left out, no older one stands in."""
        return list(self._whole(found[-1] for found in self.by_dataset if found))

    @cached_property
    def removed(self) -> list[DatasetVersion]:
        """The versions that were removed; they have a manifest and no rows."""
        datasets = (folder for folder in self._datasets if folder.name not in self._left_out)
        return [version for folder in datasets for version in removed_versions(folder)]

    @cached_property
    def running(self) -> list[RunFile]:
        """The files with commits that no version covers. Raises Damaged."""
        datasets = (folder for folder in self._datasets if folder.name not in self._left_out)
        return [one for dataset in datasets for one in self._running(dataset)]

    @cached_property
    def idle(self) -> list[Path]:
        """The idle ledgers of all runs."""
        datasets = (folder for folder in self._datasets if folder.name not in self._left_out)
        runs = (run for dataset in datasets for run in folders(dataset / "runs"))
        return [file for run in runs for file in idle_files(run)]

    @cached_property
    def by_dataset(self) -> list[list[DatasetVersion]]:
        """The versions of each dataset, oldest first, damaged ones too."""
        return [every_version(folder) for folder in self._datasets]

    def _whole(self, found: Iterable[DatasetVersion]) -> Iterator[DatasetVersion]:
        for version in found:
            if str(version) not in self._left_out:
                version.check_present()
                yield version

    def _running(self, dataset: Path) -> Iterator[RunFile]:
        made = (v for v in [*self.removed, *self.published] if v.dataset == dataset.name)
        covered = covered_commits(made)
        for run in folders(dataset / "runs"):
            position = covered.get(run.name, 0)
            if (run / LOG).is_file() and position is not None:
                for commit, skip in read_commits(run / LOG).after(position):
                    yield RunFile(dataset.name, run.name, commit, skip)


class RunFile(NamedTuple):
    """A file of a run with commits that no version covers."""

    dataset: str
    run: str
    commit: Commit
    skip: int
    """The number of its first rows that a version covers."""


def covered_commits(found: Iterable[DatasetVersion]) -> dict[str, int | None]:
    """By configuration hash, how many of a run's commits its versions cover; None is all of them.

    Removed versions count too.

    Of what an earlier tirgen published nothing else is known.
    """
    covered: dict[str, int | None] = {}
    for version in sorted(found, key=lambda version: version.number):
        covered[version.manifest["config_hash"]] = version.manifest.get("commits")
    return covered


class CatalogFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The files of a catalog under the paths above, read-only."""

    protocol = "tirgen"
    cachable = False

    def __init__(self, catalog: Catalog) -> None:
        super().__init__()
        self.catalog = catalog
        self._found: dict[str, dict[str, StoredFile]] = {}
        self._ledgers: dict[Path, bytes] = {}
        """The idle ledgers that were asked for, as they were then."""
        self.damage: StoreError | None = None
        """Why the last read failed; DuckDB passes on no exception as it is."""

    def schemas(self, kind: str) -> list[int]:
        """The schema versions that files of a kind have."""
        return sorted({int(path.split("/")[1]) for path in self._of(kind)})

    def glob(self, path: str, **_: Any) -> list[str]:
        """The files below a folder, in their order, or the one file."""
        place = self._strip_protocol(path)
        below = place.removesuffix("*")
        there = self._of(place.partition("/")[0])
        names = [place] if place in there else []
        if below != place:
            names = [one for one in there if one.startswith(below)]
        return [PROTOCOL + name for name in names]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        stored = self._stored(path)
        if self._is_ledger(path):
            size = len(self._ledger(stored.path))
        else:
            size = stored.path.stat().st_size if stored.size is None else stored.size
        return {"name": path, "size": size, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        place = self._strip_protocol(path)
        return place in self._of(place.partition("/")[0])

    def modified(self, path: str) -> datetime:
        """Always the same: a committed file never changes."""
        return datetime.fromtimestamp(0, UTC)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> IOBase:
        if mode != "rb":
            raise PermissionError("the store is only read here")
        try:
            if self._is_ledger(path):
                return BytesIO(self._ledger(self._stored(path).path))
            return _Watched(self._stored(path), self)
        except StoreError as problem:
            self.damage = problem
            raise

    def _is_ledger(self, path: str) -> bool:
        return str(self._strip_protocol(path)).startswith(f"{IDLE}/")

    def _ledger(self, file: Path) -> bytes:
        """The whole lines of an idle ledger, each of which is verified. Raises Damaged."""
        if file not in self._ledgers:
            whole = (line + b"\n" for line, _ in documents.lines(file))
            self._ledgers[file] = b"".join(whole)
        return self._ledgers[file]

    def _stored(self, path: str) -> StoredFile:
        place = self._strip_protocol(path)
        try:
            return self._of(place.partition("/")[0])[place]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _of(self, kind: str) -> dict[str, StoredFile]:
        """The files of a kind by their place, looked up when the kind is first asked for."""
        if kind not in self._found:
            base = kind.partition("-")[0]
            match base:
                case "published":
                    places = _published(kind, self.catalog.published)
                case "latest":
                    places = _published(kind, self.catalog.latest)
                case "running":
                    places = _running(self.catalog.running)
                case "idle":
                    places = _idle(self.catalog.idle)
                case _:
                    places = iter(())
            self._found[kind] = dict(places)
        return self._found[kind]


class _Watched(CheckedFile):
    """A file whose damage is noted down before DuckDB turns it into words."""

    def __init__(self, stored: StoredFile, lake: CatalogFileSystem) -> None:
        stored.check_present()
        super().__init__(stored)
        self._lake = lake

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(size)
        except Damaged as damage:
            self._lake.damage = damage
            raise


def _idle(found: Iterable[Path]) -> Iterator[tuple[str, StoredFile]]:
    for file in found:
        dataset, runs, run = file.parts[-5:-2]
        yield f"{IDLE}/{dataset}/{runs}/{run}/{IDLE}/{file.name}", StoredFile(file)


def _published(kind: str, found: Iterable[DatasetVersion]) -> Iterator[tuple[str, StoredFile]]:
    for version in found:
        schema = version.manifest.get("schema_version", _UNKNOWN)
        named = f"dataset={version.dataset}/version={version.version}"
        for number, (rows, verdicts) in enumerate(version.parts):
            if verdicts is None:
                if not kind.endswith((ROWS, VERDICTS)):
                    yield f"{kind}/{schema}/{named}/{rows.name}", rows
            elif kind.endswith(ROWS):
                yield f"{kind}/{schema}/{named}/part={number}/{rows.name}", rows
            elif kind.endswith(VERDICTS):
                schema = version.manifest["verdict_schema_version"]
                yield f"{kind}/{schema}/{named}/part={number}/{verdicts.name}", verdicts


def _running(found: Iterable[RunFile]) -> Iterator[tuple[str, StoredFile]]:
    for dataset, run, commit, skip in found:
        named = f"dataset={dataset}/run={run}/commit={commit.first:08d}/skip={skip}"
        yield f"{RUNNING}/{commit.schema}/{named}/{commit.file.name}", commit.file
