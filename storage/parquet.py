"""Reading and writing trajectories as Parquet: live batches and published versions.

The layout was chosen by measurements over 40,000 rows (nested and flat aggregates, look-up by id):
sorted rows, zstd, row groups of a few thousand, dictionaries only for repeating values, Bloom
filters on the two ids that are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from storage.checksums import StoredFile
from storage.errors import Damaged
from storage.records import Trajectory, Verdicts
from storage.schema import (
    check_version,
    from_batch,
    to_batch,
    to_batches,
    trajectory_schema,
    verdict_schema,
    with_later_columns,
)

ROW_GROUP, GROUP_BYTES = 5_000, 64 << 20
"""Rows, and about how many bytes, of one row group at most; readers hold it in memory."""
READ_ROWS = 500
"""Rows converted to records at once; limits the memory of a reader for files of any size."""

TOKENS = ("token_ids", "loss_mask", "logprobs")
"""The columns of token streams."""
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
        for batch in (batch for part in parts for batch in read_batches(part)):
            held.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= ROW_GROUP or size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(held), row_group_size=rows)
                held, rows, size = [], 0, 0
        if held:
            writer.write_table(pa.Table.from_batches(held), row_group_size=rows)


def read_batches(file: StoredFile) -> Iterator[pa.RecordBatch]:
    """The rows of a file in batches of `trajectory_schema`, at most `READ_ROWS` in each.

    Raises:
        SchemaTooNew: the file was written by a newer tirgen.
        Damaged: the file was changed after it was written.
    """
    schema = trajectory_schema()
    for batch in _batches(file):
        yield with_later_columns(batch, schema).select(schema.names).cast(schema)


def _batches(
    file: StoredFile, columns: list[str] | None = None, groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Some columns of some row groups; by default all."""
    with _opened(file) as parquet:
        there = columns and [name for name in columns if _top(name) in parquet.schema_arrow.names]
        wanted = range(parquet.num_row_groups) if groups is None else groups
        for group in wanted:  # one reader of all keeps what it has read
            yield from parquet.iter_batches(READ_ROWS, [group], there, use_threads=False)


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


class VerdictFile:
    """A file of verdicts being written beside a file of rows, in the order of its rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0

    def __enter__(self) -> VerdictFile:
        self._writer = pq.ParquetWriter(
            self.path, verdict_schema(), compression_level=3, write_page_index=True, **_LAYOUT
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, verdicts: Iterable[Verdicts]) -> None:
        """Add verdicts, in row groups of at most `ROW_GROUP`."""
        rows = iter(verdicts)
        while group := list(islice(rows, ROW_GROUP)):
            self._writer.write_batch(to_batch(group, Verdicts), row_group_size=len(group))
            self.rows += len(group)


class Part(NamedTuple):
    """A file of rows, and the verdicts that take the place of those in the rows, if any."""

    rows: StoredFile
    verdicts: StoredFile | None = None

    @property
    def judged(self) -> StoredFile:
        """The file that has the verdicts that count."""
        return self.verdicts or self.rows

    def trajectories(self, *, tokens: bool = True) -> Iterator[Trajectory]:
        """The rows as records; at most `READ_ROWS` are in memory at once.

        Without `tokens` the token streams, most of what is read, are left empty.

        Raises:
            SchemaTooNew: a file was written by a newer tirgen.
            Damaged: a file was changed after it was written.
        """
        schema = trajectory_schema()
        columns = None if tokens else [name for name in schema.names if name not in TOKENS]
        for batch in self._batches(columns):
            if not tokens:
                batch = _with_no_tokens(batch)
            yield from from_batch(with_later_columns(batch, schema), Trajectory)

    def found(self) -> Iterator[Verdicts]:
        """What was found out about each row, without reading the rest. Raises the same."""
        columns = verdict_schema().names
        for batch in _batches(self.judged, columns):
            yield from from_batch(with_later_columns(batch, verdict_schema()), Verdicts)

    def columns(self, names: list[str]) -> pa.Table:
        """Some columns; see `read_columns`."""
        if self.verdicts is None:
            return read_columns(self.rows, names)
        changed, rest = self._divided(names)
        tables = [read_columns(self.verdicts, changed)] if changed else []
        if rest:
            tables.append(read_columns(self.rows, rest))
        found = {field: table[field] for table in tables for field in table.schema.names}
        return pa.table({_top(name): found[_top(name)] for name in names})

    @property
    def group_sizes(self) -> list[int]:
        """The number of rows in each row group."""
        with _opened(self.rows) as parquet:
            found = parquet.metadata
            return [found.row_group(group).num_rows for group in range(found.num_row_groups)]

    def batches(self, names: list[str], groups: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Some columns of some row groups, at most `READ_ROWS` rows at once.

        Columns are named as for `read_columns`, and must be in every schema version.

        Raises:
            SchemaTooNew: a file was written by a newer tirgen.
            Damaged: a file was changed after it was written.
        """
        changed, rest = self._divided(names)
        verdicts = self._verdicts_of(changed, groups) if changed else None
        row = 0
        for batch in _batches(self.rows, rest or ["trajectory_id"], groups):
            if verdicts is not None:
                batch = _replaced(batch, verdicts.slice(row, batch.num_rows))
                row += batch.num_rows
            yield batch.select(list(dict.fromkeys(map(_top, names))))

    def _verdicts_of(self, columns: list[str], groups: Sequence[int]) -> pa.Table:
        """Some columns of the verdicts of the rows in some row groups."""
        assert self.verdicts is not None
        found, sizes = read_columns(self.verdicts, columns), self.group_sizes
        starts = list(accumulate(sizes, initial=0))
        parts = [found.slice(starts[group], sizes[group]) for group in groups]
        return pa.concat_tables([found.slice(0, 0), *parts])

    def _divided(self, names: list[str]) -> tuple[list[str], list[str]]:
        """Columns that the verdicts have, if there are any, and the others."""
        there = verdict_schema().names if self.verdicts else []
        changed = [name for name in names if _top(name) in there]
        return changed, [name for name in names if name not in changed]

    def _batches(self, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        if self.verdicts is None:
            yield from _batches(self.rows, columns)
            return
        verdicts = _Rows(_batches(self.verdicts))
        for batch in _batches(self.rows, columns):
            beside = verdicts.take(batch.num_rows)
            if beside["trajectory_id"].to_pylist() != batch["trajectory_id"].to_pylist():
                raise Damaged(self.verdicts.path, f"is not of the rows in {self.rows.name}")
            yield _replaced(batch, beside)
        if verdicts.take(1).num_rows:
            raise Damaged(self.verdicts.path, f"has more rows than {self.rows.name}")


def write_empty(path: Path) -> None:
    """Write a file with every column and no row, for readers that need at least one file."""
    pq.write_table(trajectory_schema().empty_table(), path)


def read_columns(file: StoredFile, columns: list[str]) -> pa.Table:
    """Some columns of a file; the others are not read.

    ``steps.list.element.outcome`` names one field of a nested column.

    Raises:
        SchemaTooNew: the file was written by a newer tirgen.
        Damaged: the file was changed after it was written.
    """
    with _opened(file) as parquet:
        found = parquet.schema_arrow.names
        there = [name for name in columns if _top(name) in found]
        table = with_later_columns(parquet.read(there), trajectory_schema())
        return table.select(list(dict.fromkeys(map(_top, columns))))


def _top(column: str) -> str:
    """The column that a nested field is in."""
    return column.partition(".")[0]


def _with_no_tokens(batch: pa.RecordBatch) -> pa.RecordBatch:
    for name in TOKENS:
        kind = trajectory_schema().field(name)
        batch = batch.append_column(kind, pa.array([()] * batch.num_rows, kind.type))
    return batch


def _replaced(batch: pa.RecordBatch, beside: pa.Table) -> pa.RecordBatch:
    """The batch with the columns of a table in the place of its own."""
    columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    for name in beside.schema.names:
        columns[name] = beside[name].combine_chunks()
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


class _Rows:
    """Batches of verdicts, of which any number of rows can be taken one after the other."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._held: list[pa.RecordBatch] = []

    def take(self, rows: int) -> pa.Table:
        """The next rows; fewer at the end."""
        schema = verdict_schema()
        while sum(batch.num_rows for batch in self._held) < rows:
            batch = next(self._batches, None)
            if batch is None:
                break
            self._held.append(with_later_columns(batch, schema).select(schema.names).cast(schema))
        table = pa.Table.from_batches(self._held, schema)
        self._held = table.slice(rows).to_batches()
        return table.slice(0, rows)


@contextmanager
def _opened(file: StoredFile) -> Iterator[pq.ParquetFile]:
    try:
        with file.open() as source, pq.ParquetFile(cast(Any, source)) as parquet:
            check_version(parquet.schema_arrow, str(file.path))
            yield parquet
    except pa.ArrowException as error:  # of a file without checksums, from an older tirgen
        raise Damaged(file.path, f"cannot be read: {error}") from error
