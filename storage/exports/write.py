"""Writing exported rows to one file, shards or standard output; files appear complete or not."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from storage import files
from storage.errors import ExportRefused
from storage.exports.common import Row
from storage.text import escaped

BATCH_ROWS = 1_000
"""Rows in memory at once."""


class FileKind(StrEnum):
    """The kinds of files, by their ending."""

    JSONL = ".jsonl"
    JSONL_GZ = ".jsonl.gz"
    PARQUET = ".parquet"
    CSV = ".csv"


def kind_of(path: Path) -> FileKind:
    """The kind of a file, from its name.

    Raises:
        ExportRefused: the ending is unknown.
    """
    for kind in sorted(FileKind, key=len, reverse=True):
        if path.name.endswith(kind):
            return kind
    raise ExportRefused(
        f"the ending of {path.name} is not a known kind of file",
        f"use {', '.join(FileKind)}, a folder for a Hugging Face dataset, or - for JSON Lines",
    )


@dataclass(frozen=True, slots=True)
class FileColumns:
    """The columns of a file: all of a schema, or some."""

    schema: pa.Schema | None
    columns: tuple[str, ...] = ()
    """Empty for all."""

    def __post_init__(self) -> None:
        known = self.schema.names if self.schema else []
        if unknown := [name for name in self.columns if self.schema and name not in known]:
            raise ExportRefused(
                f"this format has no column {', '.join(unknown)}", f"it has: {', '.join(known)}"
            )

    def row(self, row: Row) -> Row:
        return {name: row.get(name) for name in self.columns} if self.columns else row

    def arrow(self) -> pa.Schema:
        """The Arrow schema. Raises ExportRefused for a format without fixed columns."""
        if self.schema is None:
            raise ExportRefused("this format has no fixed columns", "write it as .jsonl")
        if not self.columns:
            return self.schema
        return pa.schema([self.schema.field(name) for name in self.columns])


def write_rows(
    rows: Iterable[Row], path: Path, shape: FileColumns, shard_rows: int | None = None
) -> dict[Path, int]:
    """Write rows to `path`, or to numbered shards beside it; returns the row count of each file.

    Raises:
        ExportRefused: the file's kind cannot hold this format.
        OSError: the folder is missing or the disk is full; then no file has appeared.
    """
    kind, iterator = kind_of(path), iter(rows)
    finished: dict[Path, tuple[Path, int]] = {}
    try:
        while True:
            target = path if shard_rows is None else _shard(path, kind, len(finished))
            temporary = files.temporary_beside(target)
            finished[temporary] = (target, 0)
            count = _write_one(islice(iterator, shard_rows), temporary, kind, shape)
            if count or len(finished) == 1:
                finished[temporary] = (target, count)
            if shard_rows is None or count < shard_rows:
                break
        placed = {t: it for t, it in finished.items() if it[1] or len(finished) == 1}
        for temporary, (target, _) in placed.items():
            files.replace(temporary, target)
    finally:
        for temporary in finished:
            temporary.unlink(missing_ok=True)
    return dict(placed.values())


def write_lines(rows: Iterable[Row], stream: IO[str], shape: FileColumns) -> int:
    """Write JSON Lines to a stream; returns the number of rows."""
    count = 0
    for row in rows:
        stream.write(_line(shape.row(row)))
        count += 1
    return count


def _shard(path: Path, kind: FileKind, number: int) -> Path:
    return path.with_name(f"{path.name.removesuffix(kind)}-{number:05d}{kind}")


def _write_one(rows: Iterator[Row], path: Path, kind: FileKind, shape: FileColumns) -> int:
    match kind:
        case FileKind.PARQUET:
            return _write_parquet(rows, path, shape)
        case FileKind.CSV:
            return _write_csv(rows, path, shape)
        case FileKind.JSONL_GZ:
            with gzip.open(path, "wt", encoding="utf-8") as stream:
                return write_lines(rows, cast(IO[str], stream), shape)
        case FileKind.JSONL:
            with path.open("w", encoding="utf-8") as stream:
                return write_lines(rows, stream, shape)


def _write_parquet(rows: Iterator[Row], path: Path, shape: FileColumns) -> int:
    schema, count = shape.arrow(), 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        while batch := [shape.row(row) for row in islice(rows, BATCH_ROWS)]:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
            count += len(batch)
    return count


def _write_csv(rows: Iterator[Row], path: Path, shape: FileColumns) -> int:
    schema, count = shape.arrow(), 0
    if nested := [field.name for field in schema if pa.types.is_nested(field.type)]:
        raise ExportRefused(
            f"CSV cannot hold the lists in {', '.join(nested)}",
            "write .jsonl or .parquet, or choose others with --columns",
        )
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, schema.names)
        writer.writeheader()
        for row in rows:
            writer.writerow(shape.row(row))
            count += 1
    return count


def _line(row: Row) -> str:
    return escaped(json.dumps(row, ensure_ascii=False, allow_nan=False)) + "\n"
