"""A run: the committed rows of one configuration, from its first batch to its publication.

A run's folder is named by the hash of its configuration, so the same command finds the same run
again and continues it. Rows of a run that several processes work on may overlap; a trajectory's id
is deterministic, and the newest row of a trajectory counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from storage import documents, files, names
from storage.calls import calls
from storage.checksums import StoredFile
from storage.commits import BATCHES, LOG, Commits, read_commits
from storage.compaction import BackgroundCompactor
from storage.parquet import READ_ROWS, read_batches, read_columns, write_batch, write_empty
from storage.records import Level, Trajectory
from storage.schema import from_batch, trajectory_schema
from storage.versions import DatasetVersion, publish, sorted_rows, versions
from storage.views import refresh

CONFIG = "config.json"


def run_id(dataset: str, config_hash: str) -> str:
    """Names a run in the provenance of its rows; known before the run is created."""
    return f"{dataset}-{config_hash[:12]}"


def run_folder(dataset: Path, config_hash: str) -> Path:
    """The folder of a configuration's run below that of its dataset. Raises InvalidName."""
    return dataset / "runs" / names.safe(config_hash, "configuration hash")


class Run:
    """The rows of one configuration below `ROOT/datasets/DATASET/runs/<config hash>/`."""

    def __init__(self, root: Path, dataset: str, config: dict[str, Any], config_hash: str) -> None:
        self.run_id = run_id(dataset, config_hash)
        self._root = root
        self._dataset = root / "datasets" / dataset
        self.folder = run_folder(self._dataset, config_hash)
        self._config = config
        self._config_hash = config_hash
        if not (self.folder / CONFIG).exists():
            self._describe()
        self._commits_read: int | None = None
        self._commits = Commits(self.folder)  # its log lets SQL look for batches, so it comes last
        self._compactor = BackgroundCompactor(self.folder)

    def _describe(self) -> None:
        """Write what lies beside the rows: the columns, for SQL over a run with no row yet, and
        the configuration, last, because it says that all of this is there."""
        empty = self.folder / BATCHES / "empty.parquet"
        files.make_folder(empty.parent)
        with files.temporary_for(empty) as temporary:
            write_empty(temporary)
            files.replace(temporary, empty)
        files.write_atomic(self.folder / CONFIG, documents.dump(self._config, indent=2) + b"\n")

    def append(self, trajectories: Sequence[Trajectory]) -> None:
        """Commit a batch: when this returns, no crash loses it; before, no reader sees it.

        Appending the same batch again, after a crash say, changes nothing.
        """
        if not trajectories:
            return
        made = "\n".join(f"{row.trajectory_id} {row.created_at}" for row in trajectories)
        name = hashlib.sha256(made.encode()).hexdigest()[:24] + ".parquet"
        write = partial(write_batch, trajectories=trajectories)
        self._commits.commit(name, len(trajectories), write)
        self._compactor.committed()

    def keys(self) -> set[tuple[str, str, int]]:
        """The `Trajectory.key` of every committed row: what need not be produced again."""
        keys: set[tuple[str, str, int]] = set()
        for commit in self._commits.committed():
            columns = ["problem_id", "program", "attempt", "level", "group_id"]
            table = read_columns(commit.file, columns)
            rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
            for problem, program, attempt, level, group in rows:
                keys.add((group if level == Level.STEP else problem, program, attempt))
        return keys

    def read(self) -> Iterator[Trajectory]:
        """Every committed trajectory once, in the order of the commits.

        Of one that was made again, as after an infrastructure fault, the newest row.
        """
        return self.reader()()

    def reader(self, *, in_order: bool = False) -> Callable[[], Iterator[Trajectory]]:
        """Reads what is committed now, the same rows each time, whatever is committed meanwhile.

        With `in_order` in the order of a version, which has the rows of a problem together.
        """
        log = read_commits(self.folder / LOG)
        self._commits_read = log.count
        committed = [commit.file for commit in log.commits]
        return partial(self._in_order if in_order else _newest_rows, committed)

    def _in_order(self, committed: Sequence[StoredFile]) -> Iterator[Trajectory]:
        with files.temporary_for(self.folder / "sorting") as folder:
            folder.mkdir()
            for table in sorted_rows(_newest(committed), folder, READ_ROWS):
                for batch in table.combine_chunks().to_batches():
                    yield from from_batch(batch, Trajectory)

    def every_row(self, columns: list[str]) -> pa.Table:
        """Some columns of every committed row, of those since made again too: what was paid for."""
        empty = trajectory_schema().empty_table().select(columns)
        return pa.concat_tables([empty, *self.columns(columns)], promote_options="permissive")

    def columns(self, columns: list[str]) -> Iterator[pa.Table]:
        """The same, commit by commit in their order; see `read_columns` for nested ones."""
        return (read_columns(commit.file, columns) for commit in self._commits.committed())

    def newest_columns(self, columns: list[str]) -> Iterator[pa.Table]:
        """The same, of each trajectory only the newest row."""
        committed = [commit.file for commit in self._commits.committed()]
        older = _older_rows(committed)
        for number, file in enumerate(committed):
            table = read_columns(file, columns)
            if replaced := [place for one, place in older if one == number]:
                newest = np.ones(len(table), bool)
                newest[replaced] = False
                table = table.filter(pa.array(newest))
            yield table

    def seconds(self) -> float:
        """How long all calls together have worked on the run, as far as they noted it."""
        return sum((call.seconds for call in calls(self.folder)), 0.0)

    @property
    def published(self) -> DatasetVersion | None:
        """The newest version made from this very configuration, if there is one."""
        made_here = (
            version
            for version in reversed(versions(self._dataset))
            if version.manifest["config_hash"] == self._config_hash
        )
        return next(made_here, None)

    def publish(
        self,
        trajectories: Iterable[Trajectory],
        summary: dict[str, Any] | Callable[[], dict[str, Any]],
        *,
        in_order: bool = False,
    ) -> DatasetVersion:
        """Publish `trajectories` as the dataset's next version; `in_order` says that they are.

        They are taken one after the other, in any number. `summary` must fit into JSON. If it
        depends on the rows, pass a function; it is called after the last row. The version covers
        the commits that the run had when it was last read; later ones are `running` in SQL.
        """
        commits = read_commits(self.folder / LOG).count

        def describe() -> dict[str, Any]:
            return {
                "run_id": self.run_id,
                "config_hash": self._config_hash,
                "config": self._config,
                "summary": summary() if callable(summary) else summary,
                "commits": commits if self._commits_read is None else self._commits_read,
            }

        version = publish(self._dataset, trajectories, describe, in_order=in_order)
        refresh(self._root)
        return version


def _newest_rows(committed: Sequence[StoredFile]) -> Iterator[Trajectory]:
    """The last row of each trajectory."""
    for batch in _newest(committed):
        yield from from_batch(batch, Trajectory)


def _newest(committed: Sequence[StoredFile]) -> Iterator[pa.RecordBatch]:
    """The same in batches."""
    older = _older_rows(committed)
    for number, file in enumerate(committed):
        start = 0
        for batch in read_batches(file):
            places = range(start, start + batch.num_rows)
            newest = [(number, place) not in older for place in places] if older else None
            yield batch if newest is None else batch.filter(pa.array(newest))
            start += batch.num_rows


def _older_rows(committed: Sequence[StoredFile]) -> set[tuple[int, int]]:
    """The rows that a later row of the same trajectory replaces, as (file, row in it).

    Few are, so only 64-bit hashes of all ids are held, and of ids with equal hashes the ids.
    """
    hashes = [np.fromiter(map(hash, _ids(file)), np.int64) for file in committed]
    values, counts = np.unique(np.concatenate([np.empty(0, np.int64), *hashes]), return_counts=True)
    repeated = values[counts > 1]
    last: dict[str, tuple[int, int]] = {}
    older: set[tuple[int, int]] = set()
    for number, found in enumerate(hashes):
        places = np.flatnonzero(np.isin(found, repeated))
        if len(places):
            ids = _ids(committed[number])
            for place in places.tolist():
                if ids[place] in last:
                    older.add(last[ids[place]])
                last[ids[place]] = (number, place)
    return older


def _ids(file: StoredFile) -> list[str]:
    ids = read_columns(file, ["trajectory_id"])["trajectory_id"].to_pylist()
    return [str(trajectory_id) for trajectory_id in ids]
