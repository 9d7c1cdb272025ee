"""Rows out of files: JSONL, JSON, CSV, Parquet and Arrow, whatever their columns mean.

A row that cannot be read is a `BadRow` in its place; a file that cannot be read at all is a
`ProblemsError`. Not covered: compressed text files, and JSON that is neither an array of rows
nor an object with one such array in it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from tirgen.problems.errors import BadRow, ProblemsError

BATCH_ROWS = 1024
CSV_CELL_LIMIT = 1 << 24
"""Characters; Python's own limit of 128 Ki is less than some published solutions."""


class Row(NamedTuple):
    """One row of a file, not yet understood."""

    file: str
    line: int
    fields: dict[str, Any]

    def bad(self, why: str) -> BadRow:
        return BadRow(self.file, self.line, why)


Rows: TypeAlias = Iterator[Row | BadRow]


def read_rows(path: Path) -> Rows:
    """Every row of one file in order, read as it is asked for."""
    try:
        yield from READERS[path.suffix.lower()](path)
    except (OSError, pa.ArrowInvalid, csv.Error, UnicodeDecodeError) as error:
        raise ProblemsError(
            f"{path} cannot be read as {path.suffix} ({error}); check that the file is complete"
        ) from error


def _jsonl(path: Path) -> Rows:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _object(path, number, line)


def _object(path: Path, number: int, line: bytes) -> Row | BadRow:
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return BadRow(path.name, number, "is not UTF-8")
    except (json.JSONDecodeError, RecursionError):
        return BadRow(path.name, number, "is not JSON")
    return _row(path, number, fields)


def _row(path: Path, number: int, fields: object) -> Row | BadRow:
    if not isinstance(fields, dict):
        return BadRow(path.name, number, "is not a JSON object")
    return Row(path.name, number, fields)


def _json(path: Path) -> Rows:
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise ProblemsError(
                f"{path} is not JSON (line {error.lineno}: {error.msg}); "
                "if it holds one object a line, call it .jsonl"
            ) from error
        yield from _jsonl(path)
        return
    for number, fields in enumerate(_array(path, document), start=1):
        yield _row(path, number, fields)


def _array(path: Path, document: object) -> list[object]:
    arrays = [document]
    if isinstance(document, dict):
        arrays = [value for value in document.values() if isinstance(value, list)]
    if len(arrays) == 1 and isinstance(arrays[0], list):
        return arrays[0]
    raise ProblemsError(f"{path} holds no single array of rows; write one JSON object a line")


def _csv(path: Path) -> Rows:
    csv.field_size_limit(CSV_CELL_LIMIT)
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines, restkey="", restval=None, strict=True)
        for fields in reader:
            row = Row(path.name, reader.line_num, fields)
            yield row.bad("has more cells than the header") if "" in fields else row


def _parquet(path: Path) -> Rows:
    with pa.parquet.ParquetFile(path) as table:
        yield from _numbered(path, table.iter_batches(BATCH_ROWS))


def _arrow(path: Path) -> Rows:
    with pa.memory_map(str(path)) as source:
        try:
            batches: Iterator[pa.RecordBatch] = iter(pa.ipc.open_stream(source))
        except pa.ArrowInvalid:
            table = pa.ipc.open_file(source)
            batches = (table.get_batch(index) for index in range(table.num_record_batches))
        yield from _numbered(path, batches)


def _numbered(path: Path, batches: Iterator[pa.RecordBatch]) -> Rows:
    number = 0
    for batch in batches:
        for fields in batch.to_pylist():
            number += 1
            yield Row(path.name, number, fields)


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
