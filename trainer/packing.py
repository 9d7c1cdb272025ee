"""Packing documents into rows, rows into micro-batches, and dealing these to processes.

Several documents share a row. Positions restart at 0 where a document begins, and attention does
not cross that boundary. Packing never changes the result: every document is scored as if it were
alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from trainer.samples import Sample
from trainer.settings import Packing

S = TypeVar("S", bound=Sample)


class Batch(NamedTuple, Generic[S]):
    """One micro-batch: rows x longest row."""

    token_ids: Tensor
    """int64; 0 for padding."""
    positions: Tensor
    """int64; counted within each document."""
    learned: Tensor
    """bool; true where the loss counts the token."""
    samples: tuple[S, ...]
    """The documents row by row. The learned tokens of the batch are those of the samples in this
    order."""
    starts: tuple[int, ...]
    """The column at which each sample begins in its row."""


def pack(samples: Sequence[S], packing: Packing) -> list[list[list[S]]]:
    """All samples as micro-batches of rows of documents; those with long rows come first."""
    rows = sorted(_rows(samples, packing.row_tokens), key=_length, reverse=True)
    found: list[list[list[S]]] = []
    for row in rows:
        if found and _length(found[-1][0]) * (len(found[-1]) + 1) <= packing.batch_tokens:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _length(row: Sequence[Sample]) -> int:
    return sum(map(len, row))


def _rows(samples: Sequence[S], size: int) -> list[list[S]]:
    """Best fit decreasing: each sample goes into the row where it leaves the least room."""
    rows: list[list[S]] = []
    room: list[tuple[int, int]] = []  # sorted pairs of free tokens and row number
    for sample in sorted(samples, key=len, reverse=True):
        place = bisect_left(room, (len(sample), 0))
        if place < len(room):
            free, number = room.pop(place)
            rows[number].append(sample)
        else:
            free, number = size, len(rows)
            rows.append([sample])
        if free > len(sample):
            insort(room, (free - len(sample), number))
    return rows


def collate(rows: Sequence[Sequence[S]]) -> Batch[S]:
    """Place the documents of each row side by side and pad the rows to the longest."""
    shape = (len(rows), max(map(_length, rows)))
    token_ids = torch.zeros(shape, dtype=torch.long)
    # Each padding token is its own document at position 0, so that it attends to itself.
    positions = torch.zeros(shape, dtype=torch.long)
    learned = torch.zeros(shape, dtype=torch.bool)
    starts = []
    for number, row in enumerate(rows):
        start = 0
        for sample in row:
            starts.append(start)
            end = start + len(sample)
            token_ids[number, start:end] = sample.token_ids
            positions[number, start:end] = torch.arange(len(sample))
            learned[number, start:end] = sample.learned
            start = end
    return Batch(
        token_ids, positions, learned, tuple(s for row in rows for s in row), tuple(starts)
    )


def deal(packed: Sequence[Sequence[Sequence[S]]], rank: int, size: int) -> list[Batch[S]]:
    """This process's micro-batches; every process has the same number, padded with empty
    ones.

    Batches of similar length go to different processes, so that all finish at about the same time.
    """
    own = [collate(rows) for rows in packed[rank::size]]
    rounds = -(-len(packed) // size)
    return own + [blank() for _ in range(rounds - len(own))]


def blank() -> Batch[S]:
    """A micro-batch without samples, for a process that has fewer batches than the others."""
    nothing = torch.zeros((1, 2), dtype=torch.long)
    return Batch(nothing, torch.arange(2)[None], nothing.bool(), (), ())
