"""Sorting rows in bounded memory: in pieces, which are spilled to files and merged.

Arrow's own sort needs all rows in memory and fails on text columns of more than 2 GiB.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage import memory

PIECES = 8
"""Part of the memory limit that is sorted at once; up to three copies of it exist."""
SPILLED_BYTES = 1 << 20
"""Bytes of a spilled piece that are read at once, about."""


def sort(
    batches: Iterable[pa.RecordBatch], by: Sequence[str], folder: Path, rows: int, size: int
) -> Iterator[pa.Table]:
    """The rows ordered by the columns `by`, in tables of at most `rows` rows or `size` bytes.

    Pieces that do not fit into memory are written to `folder` and removed at the end.
    """
    pieces: list[Path] = []
    held: list[pa.RecordBatch] = []
    try:
        for batch in batches:
            held.append(batch)
            if sum(one.nbytes for one in held) >= memory.limit() // PIECES:
                pieces.append(_spill(held, by, folder / f".piece-{len(pieces)}.arrow"))
                held = []
        if not pieces:
            yield from _cut(_sorted(held, by), rows, size) if held else ()
            return
        if held:
            pieces.append(_spill(held, by, folder / f".piece-{len(pieces)}.arrow"))
            held = []
        yield from _merged(pieces, by, rows, size)
    finally:
        for piece in pieces:
            piece.unlink(missing_ok=True)


def grouped(batches: Iterable[pa.RecordBatch], rows: int, size: int) -> Iterator[pa.Table]:
    """The rows as they come, in tables of at most `rows` rows or about `size` bytes."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        table = pa.Table.from_batches(held)
        if len(table) >= rows or table.nbytes >= size:
            *whole, rest = _cut(table, rows, size)
            yield from whole
            held = rest.to_batches() if len(rest) < rows and rest.nbytes < size else []
            if not held:
                yield rest
    if held:
        yield pa.Table.from_batches(held)


def _sorted(batches: Sequence[pa.RecordBatch], by: Sequence[str]) -> pa.Table:
    table = pa.Table.from_batches(batches)
    order: Any = [(column, "ascending") for column in by]
    return table.take(pc.sort_indices(table.select(list(by)), sort_keys=order))


def _cut(table: pa.Table, rows: int, size: int) -> Iterator[pa.Table]:
    """The table in parts of at most `rows` rows and about `size` bytes."""
    step = max(1, min(rows, len(table) * size // max(1, table.nbytes)))
    for start in range(0, len(table), step):
        yield table.slice(start, step)


def _spill(batches: Sequence[pa.RecordBatch], by: Sequence[str], path: Path) -> Path:
    table = _sorted(batches, by)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        for part in _cut(table, len(table), SPILLED_BYTES):
            writer.write_table(part.combine_chunks())
    return path


@dataclass(slots=True)
class _Piece:
    """A spilled piece, of which one batch is in memory."""

    batches: Iterator[pa.RecordBatch]
    by: Sequence[str]
    batch: pa.RecordBatch | None = None
    keys: list[tuple[Any, ...]] = field(default_factory=list)
    row: int = -1

    def step(self) -> bool:
        """Go to the next row; false after the last."""
        self.row += 1
        while self.batch is None or self.row >= len(self.keys):
            self.batch = next(self.batches, None)
            if self.batch is None:
                return False
            columns = [self.batch.column(name).to_pylist() for name in self.by]
            self.keys, self.row = list(zip(*columns, strict=True)), 0
        return True


def _merged(paths: Sequence[Path], by: Sequence[str], rows: int, size: int) -> Iterator[pa.Table]:
    with ExitStack() as stack:
        sources = [stack.enter_context(pa.OSFile(str(path), "rb")) for path in paths]
        pieces = [_Piece(iter(pa.ipc.open_stream(source)), by) for source in sources]
        heap = [(piece.keys[0], n) for n, piece in enumerate(pieces) if piece.step()]
        heapq.heapify(heap)
        chosen = _Chosen()
        while heap:
            _, number = heap[0]
            piece = pieces[number]
            assert piece.batch is not None
            chosen.add(number, piece.batch, piece.row)
            if piece.step():
                heapq.heapreplace(heap, (piece.keys[piece.row], number))
            else:
                heapq.heappop(heap)
            if len(chosen.rows) >= rows or chosen.size >= size:
                yield chosen.table()
                chosen = _Chosen()
        if chosen.rows:
            yield chosen.table()


@dataclass(slots=True)
class _Chosen:
    """The next rows of the result, as positions in the batches that hold them."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    starts: dict[int, int] = field(default_factory=dict)
    """By piece, the position of its current batch among all rows of `batches`."""
    latest: dict[int, pa.RecordBatch] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    held: int = 0
    size: float = 0.0

    def add(self, piece: int, batch: pa.RecordBatch, row: int) -> None:
        if self.latest.get(piece) is not batch:
            self.latest[piece], self.starts[piece] = batch, self.held
            self.batches.append(batch)
            self.held += batch.num_rows
        self.rows.append(self.starts[piece] + row)
        self.size += batch.nbytes / batch.num_rows

    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.batches).take(self.rows)
