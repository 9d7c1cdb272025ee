"""Documents laid into rows, rows into micro-batches, micro-batches dealt to processes.

Several documents share a row; positions that begin at 0 again mark where the next one begins, and
attention does not cross that mark. Nothing here changes what is learned: every document is scored
as if it were alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from trainer.samples import Sample

S = TypeVar("S", bound=Sample)


class Packing(BaseModel):
    """How much is computed at once; changes speed and memory, never the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    row_tokens: int = Field(512, ge=1)
    """Documents are packed into rows of so many tokens; a longer one has a row of its own.
    Attention costs the square of it unless the kernel skips masked blocks."""
    batch_tokens: int = Field(8192, ge=1)
    """Largest micro-batch, padding included; a longer document is a micro-batch of its own."""

    def in_one_row(self) -> Packing:
        """For kernels that read from positions where documents begin: transformers' flash attention
        does so in batches of one row only, and takes any other for documents as long as rows."""
        return self.model_copy(update={"row_tokens": self.batch_tokens})


class Batch(NamedTuple, Generic[S]):
    """One micro-batch: rows x longest row."""

    token_ids: Tensor
    """int64; 0 where a row is padded."""
    positions: Tensor
    """int64: counted within each document."""
    learned: Tensor
    """bool: where the loss counts the token."""
    samples: tuple[S, ...]
    """The documents in the order in which they lie, row by row: the learned tokens read in this
    order are the learned tokens of the samples one after another."""
    starts: tuple[int, ...]
    """The column at which each of them begins in its row."""


def pack(samples: Sequence[S], packing: Packing) -> list[list[list[S]]]:
    """Every sample once, as micro-batches of rows of documents; long micro-batches first."""
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
    """Best fit decreasing: each sample goes where it leaves the least room."""
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
    """Lay the documents side by side and pad the rows to the longest."""
    shape = (len(rows), max(map(_length, rows)))
    token_ids = torch.zeros(shape, dtype=torch.long)
    # A padding token is a document of its own at position 0, so that it attends to itself.
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
    """This process's micro-batches: as many on every process, with blanks where there are fewer.

    Neighbours in length go to different processes, so that all have about the same work at once.
    """
    own = [collate(rows) for rows in packed[rank::size]]
    rounds = -(-len(packed) // size)
    return own + [blank() for _ in range(rounds - len(own))]


def blank() -> Batch[S]:
    """A micro-batch that teaches nothing: keeps a process without data in step with the others."""
    nothing = torch.zeros((1, 2), dtype=torch.long)
    return Batch(nothing, torch.arange(2)[None], nothing.bool(), (), ())
