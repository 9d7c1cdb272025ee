"""Published dataset versions: numbered folders of Parquet (`storage.numbered`), and their making.

Not covered: a version is sorted in memory, so publishing needs memory for its whole text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from storage import files, numbered
from storage.parquet import read_columns, read_trajectories, write_published
from storage.records import SCHEMA_VERSION, Trajectory
from storage.schema import to_batch, trajectory_schema

FILE_ROWS = 50_000
"""Rows per Parquet file of a version."""

_ORDER = ["problem_id", "program", "attempt", "trajectory_id"]


@dataclass(frozen=True)
class DatasetVersion(numbered.Version):
    """One version of a dataset.

    Its manifest has rows, kept rows, files, configuration, summary and the version before.
    """

    @property
    def dataset(self) -> str:
        return self.name

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

    @property
    def digests(self) -> dict[Path, str]:
        return {self.path / file["file"]: file["sha256"] for file in self.manifest["files"]}


def versions(dataset: Path) -> list[DatasetVersion]:
    """The published versions below a dataset's folder, oldest first."""
    return numbered.versions(dataset, DatasetVersion)


def publish(
    dataset: Path, trajectories: Iterable[Trajectory], described: dict[str, Any]
) -> DatasetVersion:
    """Write a new version below the dataset's folder; `described` goes into its manifest."""
    prepared = numbered.prepare(dataset)
    manifest = {
        "name": dataset.name,
        **_write_rows(prepared, trajectories),
        **described,
        "schema_version": SCHEMA_VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return numbered.place(
        dataset, prepared, lambda previous: {**manifest, "parent": previous}, DatasetVersion
    )


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


_Item = TypeVar("_Item")


def _chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
