"""Reads rows from files: JSONL, JSON, CSV, TSV, Parquet and Arrow, with any columns.

A row that cannot be read is returned as a `BadRow` in its place; a file that cannot be read raises
`ProblemsError`. Text files may be compressed. Not covered: JSON that is neither an array of rows
nor an object with exactly one such array in it.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from tirgen.data.errors import BadRow, ProblemsError
from tirgen.data.text_files import (
    COMPRESSIONS,
    encoding_fault,
    format_of,
    open_bytes,
    open_text,
)

BATCH_ROWS = 1024
CSV_CELL_LIMIT = 1 << 24
"""Characters; Python's default of 128 Ki is too short for some published solutions."""
CONVERSATIONS = "conversations"
"""Name of the only column of a row that is a bare list of turns."""
_ESCAPED = re.compile("[\udc80-\udcff]")
"""Characters that stand for bytes that are not UTF-8."""


class Row(NamedTuple):
    """One row of a file, before its layout is known."""

    file: str
    line: int
    fields: dict[str, Any]

    def bad(self, why: str) -> BadRow:
        return BadRow(self.file, self.line, why)


Rows: TypeAlias = Iterator[Row | BadRow]


def is_readable(path: Path) -> bool:
    """Whether the file's ending is known."""
    return format_of(path) in READERS and (path.suffix.lower() in READERS or _is_text_file(path))


def known_endings() -> str:
    """The endings that can be read, for messages."""
    return f"{', '.join(sorted(READERS))}; text also with {', '.join(COMPRESSIONS)}"


def read_rows(path: Path) -> Rows:
    """Every row of one file in order, read lazily."""
    try:
        yield from READERS[format_of(path)](path)
    except (OSError, EOFError, pa.ArrowInvalid) as error:
        raise ProblemsError(
            f"{path} cannot be read as {format_of(path)} ({error}); check that the file is complete"
        ) from error


def _is_text_file(path: Path) -> bool:
    return format_of(path) in (".jsonl", ".ndjson", ".json", ".csv", ".tsv")


def _jsonl(path: Path) -> Rows:
    with open_bytes(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _object(path, number, line)


def _object(path: Path, number: int, line: bytes) -> Row | BadRow:
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return BadRow(path.name, number, encoding_fault(line))
    except (ValueError, RecursionError):  # an integer of too many digits is a bare ValueError
        return BadRow(path.name, number, "is not JSON")
    return _row(path, number, fields)


def _row(path: Path, number: int, fields: object) -> Row | BadRow:
    """A row from an object; a bare list of turns (ORZ) becomes a row with a single column."""
    if isinstance(fields, list) and fields and all(isinstance(turn, dict) for turn in fields):
        return Row(path.name, number, {CONVERSATIONS: fields})
    if not isinstance(fields, dict):
        return BadRow(path.name, number, "is not a JSON object")
    return Row(path.name, number, fields)


def _json(path: Path) -> Rows:
    with open_bytes(path) as file:
        content = file.read()
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ProblemsError(f"{path} {encoding_fault(content)}") from None
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise ProblemsError(
                f"{path} is not JSON (line {error.lineno}: {error.msg}); "
                "if it holds one object a line, call it .jsonl"
            ) from error
        yield from _jsonl(path)
        return
    except (ValueError, RecursionError) as error:
        raise ProblemsError(f"{path} is JSON that cannot be read ({error})") from error
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
    """One row per record; a record that is not CSV becomes a `BadRow`."""
    csv.field_size_limit(CSV_CELL_LIMIT)
    with open_text(path) as lines:
        reader = csv.reader(lines, delimiter=_delimiter(path), strict=True)
        header: list[str] | None = None
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(path.name, reader.line_num, f"is not CSV ({error})")
                continue
            if header is None:
                header = [name.strip() for name in cells]
            elif cells:
                yield _record(Row(path.name, reader.line_num, {}), header, cells)


def _record(row: Row, header: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) > len(header):
        return row.bad("has more cells than the header")
    line = "".join(cells)
    if _ESCAPED.search(line):
        return row.bad(encoding_fault(line.encode("utf-8", "surrogateescape")))
    fields = dict.fromkeys(header) | dict(zip(header, cells, strict=False))
    return row._replace(fields=fields)


def _delimiter(path: Path) -> str:
    """Tab for .tsv; else the most frequent of comma, semicolon and tab in the header."""
    if format_of(path) == ".tsv":
        return "\t"
    with open_text(path) as lines:
        header = re.sub(r'"[^"]*"', "", lines.readline())
    return max(",;\t", key=header.count)


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
        for fields in _objects(batch):
            number += 1
            if fields is None:
                yield BadRow(path.name, number, "holds text that is not UTF-8")
            else:
                yield Row(path.name, number, fields)


def _objects(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | None]:
    """The rows of a batch; None for a row whose text cannot be decoded."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            yield None
            return
        for index in range(batch.num_rows):
            yield from _objects(batch.slice(index, 1))


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
