"""Published dataset versions: immutable folders of Parquet with a manifest, named v1, v2, ...

Publishing prepares the whole folder under a temporary name and moves it into place with a single
rename, which fails where a version already lies: no version is ever overwritten, none is ever seen
half, and of two publishers at once the second takes the next number. The latest version is the one
with the highest number; the link `latest` says the same to other tools.

Not covered: a version is sorted in memory, so publishing needs memory for its whole text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from storage import files
from storage.parquet import read_columns, read_trajectories, write_published
from storage.records import SCHEMA_VERSION, Trajectory
from storage.schema import to_batch, trajectory_schema

FILE_ROWS = 50_000
"""Rows per Parquet file of a version."""
MANIFEST = "manifest.json"

_ORDER = ["problem_id", "program", "attempt", "trajectory_id"]


@dataclass(frozen=True)
class DatasetVersion:
    """One published version: a folder that never changes again."""

    path: Path

    @property
    def dataset(self) -> str:
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        """Its name within the dataset, e.g. ``v3``."""
        return self.path.name

    def __str__(self) -> str:
        return f"{self.dataset}@{self.version}"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What lies here and where it came from: rows, kept rows, files, configuration, summary."""
        manifest: dict[str, Any] = json.loads((self.path / MANIFEST).read_bytes())
        return manifest

    @property
    def files(self) -> list[Path]:
        return [self.path / file["file"] for file in self.manifest["files"]]

    def read(self) -> Iterator[Trajectory]:
        """Every trajectory, rejected ones included, ordered by problem and attempt."""
        for file in self.files:
            yield from read_trajectories(file)

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The rows as Arrow, only `columns` where given."""
        names = trajectory_schema().names if columns is None else columns
        return pa.concat_tables(read_columns(file, names) for file in self.files)

    def damaged_files(self) -> list[Path]:
        """The files that are missing, or whose content is not what was published."""
        return [
            self.path / file["file"]
            for file in self.manifest["files"]
            if not files.is_intact(self.path / file["file"], file["sha256"])
        ]


def versions(dataset: Path) -> list[DatasetVersion]:
    """The published versions below a dataset's folder, oldest first."""
    folders = (dataset / "versions").glob("v*")
    numbered = [(int(p.name[1:]), p) for p in folders if re.fullmatch(r"v[1-9]\d*", p.name)]
    return [DatasetVersion(path) for _, path in sorted(numbered)]


def publish(
    dataset: Path, trajectories: Iterable[Trajectory], described: dict[str, Any]
) -> DatasetVersion:
    """Write a new version below the dataset's folder; `described` goes into its manifest."""
    files.make_folder(dataset / "versions")
    temporary = files.temporary_beside(dataset / "versions" / "version")
    temporary.mkdir()
    manifest = {
        "name": dataset.name,
        **_write_rows(temporary, trajectories),
        **described,
        "schema_version": SCHEMA_VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    version = _take_next_number(dataset, temporary, manifest)
    _move_latest(dataset)
    return version


def _write_rows(folder: Path, trajectories: Iterable[Trajectory]) -> dict[str, Any]:
    """Write the sorted rows, and return what the manifest says of them."""
    kept = 0
    batches = []
    for chunk in _chunks(trajectories, 1_000):
        batches.append(to_batch(chunk))
        kept += sum(trajectory.kept for trajectory in chunk)
    table = pa.Table.from_batches(batches, trajectory_schema())
    table = table.sort_by([(column, "ascending") for column in _ORDER])
    written = []
    for number, start in enumerate(range(0, max(1, len(table)), FILE_ROWS)):
        path = folder / f"part-{number:05d}.parquet"
        part = table.slice(start, FILE_ROWS)
        write_published(path, part)
        written.append({"file": path.name, "rows": len(part), "sha256": files.sha256(path)})
    return {
        "rows": len(table),
        "kept_rows": kept,
        "files": written,
        "code_versions": sorted(table["code_version"].unique().to_pylist()),
    }


def _take_next_number(dataset: Path, prepared: Path, manifest: dict[str, Any]) -> DatasetVersion:
    while True:
        existing = versions(dataset)
        parent = existing[-1].version if existing else None
        number = int(parent[1:]) + 1 if parent else 1
        named = {**manifest, "version": f"v{number}", "parent": parent}
        (prepared / MANIFEST).write_text(json.dumps(named, indent=2) + "\n")
        path = dataset / "versions" / f"v{number}"
        if files.place_new_folder(prepared, path):
            return DatasetVersion(path)


def _move_latest(dataset: Path) -> None:
    """Point `latest` at the newest version, again if another publisher came in between."""
    while True:
        newest = versions(dataset)[-1]
        files.point_to(dataset / "latest", f"versions/{newest.version}")
        if versions(dataset)[-1] == newest:
            return


_Item = TypeVar("_Item")


def _chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
