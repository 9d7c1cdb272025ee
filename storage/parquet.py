"""Reading and writing trajectories as Parquet: live batches and published versions.

The layout was chosen by measurements over 40,000 rows (nested and flat aggregates, look-up by id):
sorted rows, zstd, row groups of a few thousand, dictionaries only for repeating values, Bloom
filters on the two ids that are looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from storage.checksums import StoredFile
from storage.errors import Damaged
from storage.records import Trajectory
from storage.schema import (
    check_version,
    from_batch,
    to_batches,
    trajectory_schema,
    with_later_columns,
)

ROW_GROUP, GROUP_BYTES = 5_000, 64 << 20
"""Rows, and about how many bytes, of one row group at most; readers hold it in memory."""
READ_ROWS = 500
"""Rows converted to records at once; limits the memory of a reader for files of any size."""

_REPEATING: Any = [
    "dataset", "program", "source", "difficulty", "ending", "method", "run_id", "config_hash",
    "actor_model", "critic_model", "engine", "sampling", "actor_prompt_hash", "critic_prompt_hash",
    "code_version", "sandbox", "policy_version", "level", "judge_model",
    "steps.list.element.outcome", "filters.list.element.rule", "filters.list.element.reason",
]  # fmt: skip
"""Columns with few distinct values; `Any`, because pyarrow's stubs only allow a flag here."""
_LOOKED_UP = ["trajectory_id", "problem_id"]
_LAYOUT: Any = {
    "compression": "zstd",
    "use_dictionary": _REPEATING,
    "write_page_checksum": True,
}
"""Page checksums are for other readers; this package reads with `storage.checksums`."""


def write_batch(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write a live batch: fast compression, since it is soon compacted."""
    schema = trajectory_schema()
    with pq.ParquetWriter(path, schema, compression_level=1, **_LAYOUT) as writer:
        for batch in to_batches(trajectories):
            writer.write_batch(batch)


def write_merged(path: Path, parts: Sequence[StoredFile]) -> None:
    """The rows of several files in one, in their order and unchanged.

    Raises:
        SchemaTooNew: a file was written by a newer tirgen.
        Damaged: a file was changed after it was written.
    """
    schema = trajectory_schema()
    with pq.ParquetWriter(path, schema, compression_level=1, **_LAYOUT) as writer:
        held: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in (batch for part in parts for batch in _batches(part)):
            held.append(with_later_columns(batch).select(schema.names).cast(schema))
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= ROW_GROUP or size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(held), row_group_size=rows)
                held, rows, size = [], 0, 0
        if held:
            writer.write_table(pa.Table.from_batches(held), row_group_size=rows)


def _batches(file: StoredFile) -> Iterator[pa.RecordBatch]:
    with _opened(file) as parquet:
        yield from parquet.iter_batches(READ_ROWS, use_threads=False)


class PublishedFile:
    """A file being written for a dataset version, with a layout for queries."""

    def __init__(self, path: Path, rows: int) -> None:
        """`rows` is the largest number of rows in a row group."""
        bloom = {column: {"ndv": max(1, rows), "fpp": 0.01} for column in _LOOKED_UP}
        self.path = path
        self.rows = 0
        self._writer = pq.ParquetWriter(
            path,
            trajectory_schema(),
            compression_level=3,
            write_page_index=True,
            bloom_filter_options=bloom,
            **_LAYOUT,
        )

    def write(self, table: pa.Table) -> None:
        """Add a row group."""
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self.rows += len(table)

    def close(self) -> None:
        self._writer.close()


def write_empty(path: Path) -> None:
    """Write a file with every column and no row, for readers that need at least one file."""
    pq.write_table(trajectory_schema().empty_table(), path)


def read_trajectories(file: StoredFile) -> Iterator[Trajectory]:
    """The rows of a file as records; at most `READ_ROWS` are in memory at once.

    Raises:
        SchemaTooNew: the file was written by a newer tirgen.
        Damaged: the file was changed after it was written.
    """
    for batch in _batches(file):
        yield from from_batch(with_later_columns(batch))


def read_columns(file: StoredFile, columns: list[str]) -> pa.Table:
    """Some columns of a file; the others are not read.

    ``steps.list.element.outcome`` names one field of a nested column.

    Raises:
        SchemaTooNew: the file was written by a newer tirgen.
        Damaged: the file was changed after it was written.
    """
    with _opened(file) as parquet:
        names, found = (
            {name: name.partition(".")[0] for name in columns},
            parquet.schema_arrow.names,
        )
        there = [name for name in columns if names[name] in found]
        return with_later_columns(parquet.read(there)).select(list(dict.fromkeys(names.values())))


def read_batches(
    files: Sequence[StoredFile], columns: list[str], part: int, parts: int
) -> Iterator[pa.RecordBatch]:
    """Some columns of every `parts`-th row group of the files, beginning with the `part`-th.

    Columns are named as for `read_columns`, and must be in every schema version.

    Raises:
        SchemaTooNew: the file was written by a newer tirgen.
        Damaged: the file was changed after it was written.
    """
    seen = 0
    for file in files:
        with _opened(file) as parquet:
            groups = [g for g in range(parquet.num_row_groups) if (seen + g) % parts == part]
            seen += parquet.num_row_groups
            yield from parquet.iter_batches(READ_ROWS, groups, columns, use_threads=False)


@contextmanager
def _opened(file: StoredFile) -> Iterator[pq.ParquetFile]:
    try:
        with file.open() as source, pq.ParquetFile(cast(Any, source)) as parquet:
            check_version(parquet.schema_arrow, str(file.path))
            yield parquet
    except pa.ArrowException as error:  # of a file without checksums, from an older tirgen
        raise Damaged(file.path, f"cannot be read: {error}") from error
