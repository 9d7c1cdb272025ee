"""Published dataset versions: numbered folders of Parquet (`storage.numbered`), and their making.

Publishing takes the rows one after the other and sorts them in pieces, so that its memory is
bounded whatever their number and size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage import files, names, numbered
from storage.checksums import StoredFile
from storage.errors import Damaged, InvalidName
from storage.parquet import (
    GROUP_BYTES,
    ROW_GROUP,
    PublishedFile,
    read_batches,
    read_columns,
    read_trajectories,
)
from storage.records import BASELINE_RULE, SCHEMA_VERSION, Trajectory
from storage.schema import to_batches, trajectory_schema
from storage.sorting import in_order

FILE_ROWS = 50_000
"""Most rows per Parquet file of a version."""

_ORDER = ["problem_id", "program", "attempt", "trajectory_id"]


@dataclass(frozen=True)
class DatasetVersion(numbered.Version):
    """One version of a dataset.

    Its manifest has rows, kept rows, files, configuration, summary and the version before.
    """

    NOUN = "dataset"
    NEEDED = (
        "rows", "kept_rows", "files", "created_at", "run_id", "config_hash", "config", "summary",
    )  # fmt: skip

    @property
    def dataset(self) -> str:
        return self.name

    @property
    def files(self) -> list[Path]:
        return [file.path for file in self.stored]

    @property
    def baselines(self) -> int:
        """Rows that measure problems (`records.BASELINE_RULE`)."""
        if "baseline_rows" in self.manifest:
            return int(self.manifest["baseline_rows"])
        yields = self.manifest["summary"].get("yield", ())  # an earlier tirgen counted them there
        return sum(int(one["dropped"]) for one in yields if one["rule"] == BASELINE_RULE)

    @property
    def samples(self) -> int:
        """All other rows: what shares and accuracies are of."""
        return int(self.manifest["rows"]) - self.baselines

    @property
    def stored(self) -> list[StoredFile]:
        try:
            entries = [(names.safe(one["file"], "file"), one) for one in self.manifest["files"]]
        except (TypeError, KeyError, InvalidName) as error:
            why = f"names a file that cannot be one: {error}"
            raise Damaged(self.path / numbered.MANIFEST, why) from error
        return [StoredFile.named(self.path / name, entry) for name, entry in entries]

    def read(self) -> Iterator[Trajectory]:
        """Every trajectory, rejected ones included, ordered by problem and attempt."""
        for file in self.stored:
            yield from read_trajectories(file)

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The rows as Arrow, only `columns` where given."""
        wanted = trajectory_schema().names if columns is None else columns
        return pa.concat_tables(read_columns(file, wanted) for file in self.stored)

    def batches(
        self, columns: list[str], part: int = 0, parts: int = 1
    ) -> Iterator[pa.RecordBatch]:
        """Some columns of this part of the row groups, for readers that share the work."""
        return read_batches(self.stored, columns, part, parts)

    @property
    def digests(self) -> dict[Path, str]:
        return {self.path / file["file"]: file["sha256"] for file in self.manifest["files"]}


def versions(dataset: Path) -> list[DatasetVersion]:
    """The whole versions below a dataset's folder, oldest first; damaged ones are left out."""
    return numbered.versions(dataset, DatasetVersion)


def every_version(dataset: Path) -> list[DatasetVersion]:
    """The published versions below a dataset's folder, oldest first, damaged ones too."""
    return numbered.every(dataset, DatasetVersion)


def publish(
    dataset: Path, trajectories: Iterable[Trajectory], describe: Callable[[], dict[str, Any]]
) -> DatasetVersion:
    """Write a new version below the dataset's folder, from rows taken one after the other.

    `describe` is called behind the last of them; what it says goes into the manifest.
    """
    with numbered.preparing(dataset) as prepared:
        manifest = {
            "name": dataset.name,
            **_write_rows(prepared, trajectories),
            **describe(),
            "schema_version": SCHEMA_VERSION,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return numbered.place(
            dataset, prepared, lambda previous: {**manifest, "parent": previous}, DatasetVersion
        )


def _write_rows(folder: Path, trajectories: Iterable[Trajectory]) -> dict[str, Any]:
    """Write the sorted rows, and return what the manifest says of them."""
    counted = _Counted(trajectories)
    written: list[PublishedFile] = []
    groups = in_order(to_batches(counted), _ORDER, folder, ROW_GROUP, GROUP_BYTES)
    first = next(groups, trajectory_schema().empty_table())
    for group in chain([first], groups):
        if not written or written[-1].rows + len(group) > FILE_ROWS:
            if written:
                written[-1].close()
            path = folder / f"part-{len(written):05d}.parquet"
            written.append(PublishedFile(path, len(first)))
        written[-1].write(group)
    written[-1].close()
    return {
        "rows": counted.rows,
        "kept_rows": counted.kept,
        "baseline_rows": counted.baselines,
        "files": [_described(file) for file in written],
        "code_versions": sorted(counted.code_versions),
    }


def _described(file: PublishedFile) -> dict[str, Any]:
    named = {"file": file.path.name, "rows": file.rows, "sha256": files.sha256(file.path)}
    return {**named, **StoredFile.describe(file.path)}


@dataclass(slots=True)
class _Counted:
    """Trajectories that go by, and what the manifest says of all of them."""

    trajectories: Iterable[Trajectory]
    rows: int = 0
    kept: int = 0
    baselines: int = 0
    code_versions: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[Trajectory]:
        for trajectory in self.trajectories:
            self.rows += 1
            self.kept += trajectory.kept
            self.baselines += trajectory.is_baseline
            self.code_versions.add(trajectory.provenance.code_version)
            yield trajectory
