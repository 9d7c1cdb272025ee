"""Published dataset versions: numbered folders of Parquet (`storage.numbered`), and their making.

Publishing takes the rows one after the other and sorts them in pieces, so that its memory is
bounded whatever their number and size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Generic

import pyarrow as pa

from storage import files, names, numbered
from storage.checksums import StoredFile
from storage.errors import Damaged, InvalidName
from storage.parquet import GROUP_BYTES, ROW_GROUP, Part, PublishedFile, VerdictFile
from storage.records import BASELINE_RULE, SCHEMA_VERSION, Trajectory, Verdicts
from storage.schema import R, to_batches, trajectory_schema
from storage.sorting import grouped, sort

VERDICTS = "verdicts-"
"""Beginning of the name of a file of verdicts; the rest is that of its file of rows."""
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

    @cached_property
    def parts(self) -> list[Part]:
        """The files of rows in their order, each with its verdicts where these lie beside it."""
        try:
            return [self._part(entry) for entry in self.manifest["files"]]
        except (TypeError, KeyError, InvalidName) as error:
            why = f"names a file that cannot be one: {error}"
            raise Damaged(self.path / numbered.MANIFEST, why) from error

    def _part(self, entry: dict[str, Any]) -> Part:
        rows, verdicts = self._stored(entry), entry.get("verdicts")
        return Part(rows, verdicts and self._stored(verdicts))

    def _stored(self, entry: dict[str, Any]) -> StoredFile:
        return StoredFile.named(self.path / names.safe(entry["file"], "file"), entry)

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
        return [file for part in self.parts for file in part if file]

    @property
    def files(self) -> list[Path]:
        return [file.path for file in self.stored]

    def read(self) -> Iterator[Trajectory]:
        """Every trajectory, rejected ones included, ordered by problem and attempt."""
        for part in self.parts:
            yield from part.trajectories()

    def found(self) -> Iterator[Verdicts]:
        """What was found out about each, in the same order, without reading the rest."""
        for part in self.parts:
            yield from part.found()

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The rows as Arrow, only `columns` where given."""
        wanted = trajectory_schema().names if columns is None else columns
        return pa.concat_tables(part.columns(wanted) for part in self.parts)

    def batches(
        self, columns: list[str], part: int = 0, parts: int = 1
    ) -> Iterator[pa.RecordBatch]:
        """Some columns of every `parts`-th row group, beginning with the `part`-th.

        For readers that share the work; see `storage.parquet.Part.batches`.
        """
        seen = 0
        for each in self.parts:
            count = len(each.group_sizes)
            groups = [group for group in range(count) if (seen + group) % parts == part]
            seen += count
            yield from each.batches(columns, groups)

    @property
    def digests(self) -> dict[Path, str]:
        entries = [
            one for entry in self.manifest["files"] for one in (entry, entry.get("verdicts")) if one
        ]
        return {self.path / entry["file"]: entry["sha256"] for entry in entries}


def versions(dataset: Path) -> list[DatasetVersion]:
    """The whole versions below a dataset's folder, oldest first; damaged ones are left out."""
    return numbered.versions(dataset, DatasetVersion)


def every_version(dataset: Path) -> list[DatasetVersion]:
    """The published versions below a dataset's folder, oldest first, damaged ones too."""
    return numbered.every(dataset, DatasetVersion)


def removed_versions(dataset: Path) -> list[DatasetVersion]:
    """The removed versions below a dataset's folder, oldest first."""
    return numbered.every(dataset, DatasetVersion, numbered.REMOVED)


def sorted_rows(batches: Iterable[pa.RecordBatch], folder: Path, rows: int) -> Iterator[pa.Table]:
    """Rows in the order of a version, in tables of at most `rows` rows and bounded size.

    What does not fit into memory is written to `folder` and removed at the end.
    """
    return sort(batches, _ORDER, folder, rows, GROUP_BYTES)


def publish(
    dataset: Path,
    trajectories: Iterable[Trajectory],
    describe: Callable[[], dict[str, Any]],
    *,
    in_order: bool = False,
) -> DatasetVersion:
    """Write a new version below the dataset's folder, from rows taken one after the other.

    They are sorted here unless they are in order already.

    `describe` is called behind the last of them; what it says goes into the manifest.
    """
    with numbered.preparing(dataset) as prepared:
        manifest = {
            "name": dataset.name,
            **_write_rows(prepared, trajectories, in_order),
            **describe(),
            "schema_version": SCHEMA_VERSION,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return numbered.place(
            dataset, prepared, lambda previous: {**manifest, "parent": previous}, DatasetVersion
        )


def publish_verdicts(
    source: DatasetVersion, found: Iterable[Verdicts], describe: Callable[[], dict[str, Any]]
) -> DatasetVersion:
    """Write the next version of a dataset: the rows of `source`, with other verdicts beside them.

    The rows are shared, not copied. `found` has one for each row, in the order of the rows;
    `describe` is called behind the last of them, as in `publish`.

    Raises:
        ValueError: a verdict is of another row, or there are more or fewer than rows.
    """
    dataset = source.path.parents[1]
    counted = _Counted(found)
    verdicts = iter(counted)
    with numbered.preparing(dataset) as prepared:
        entries = [
            _beside(part, entry, verdicts, prepared)
            for part, entry in zip(source.parts, source.manifest["files"], strict=True)
        ]
        if next(verdicts, None):
            raise ValueError(f"there are more verdicts than rows of {source}")
        kept = ("name", "schema_version", "code_versions")
        manifest = {
            **describe(),
            **{name: source.manifest[name] for name in kept if name in source.manifest},
            "rows": counted.rows,
            "kept_rows": counted.kept,
            "baseline_rows": counted.baselines,
            "files": entries,
            "verdict_schema_version": SCHEMA_VERSION,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return numbered.place(
            dataset, prepared, lambda previous: {**manifest, "parent": previous}, DatasetVersion
        )


def _beside(
    part: Part, entry: dict[str, Any], found: Iterator[Verdicts], folder: Path
) -> dict[str, Any]:
    """Share a file of rows, write the verdicts beside it, and describe both."""
    files.share(part.rows.path, folder / part.rows.name)
    path = folder / part.rows.name.replace("part-", VERDICTS)
    ids = part.columns(["trajectory_id"])["trajectory_id"].to_pylist()

    def matching() -> Iterator[Verdicts]:
        for name, one in zip(ids, found, strict=False):
            if one.trajectory_id != name:
                raise ValueError(f"a verdict of {one.trajectory_id} is given for {name}")
            yield one

    with VerdictFile(path) as written:
        written.write(matching())
    if written.rows != len(ids):
        raise ValueError(f"there are fewer verdicts than rows of {part.rows.path}")
    described = {"file": path.name, "sha256": files.sha256(path), **StoredFile.describe(path)}
    return {**entry, "verdicts": described}


def _write_rows(
    folder: Path, trajectories: Iterable[Trajectory], are_in_order: bool
) -> dict[str, Any]:
    """Write the sorted rows, and return what the manifest says of them."""
    counted = _Counted(trajectories)
    written: list[PublishedFile] = []
    batches = to_batches(counted)
    groups = (
        grouped(batches, ROW_GROUP, GROUP_BYTES)
        if are_in_order
        else sorted_rows(batches, folder, ROW_GROUP)
    )
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
class _Counted(Generic[R]):
    """Passes rows on and counts them for the manifest."""

    found: Iterable[R]
    rows: int = 0
    kept: int = 0
    baselines: int = 0
    code_versions: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[R]:
        for one in self.found:
            self.rows += 1
            self.kept += one.kept
            self.baselines += one.is_baseline
            if isinstance(one, Trajectory):
                self.code_versions.add(one.provenance.code_version)
            yield one
