"""Packing documents into rows, rows into micro-batches, and dealing these to processes.

Several documents share a row. Positions restart at 0 where a document begins, and attention does
not cross that boundary. Documents of one group, which begin alike, may be a tree:

    prefix | rest of the first | rest of the second | ...

Each rest sees the prefix and itself, at the positions it has in its document, so the prefix is
computed once. Packing never changes the result: every document is scored as if it were alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from trainer.samples import Sample
from trainer.settings import Packing

S = TypeVar("S", bound=Sample)


WORTH = 0.85
"""Trees are made where they cost at most this share of documents alone: rows of unlike lengths need
more padding. On rounds of the pocket, replies that would save less became slower."""


class PackingCost(NamedTuple):
    """Work of a layer, in operations."""

    token: float
    """For each token, of the products with weights."""
    pair: float
    """For each token and each token of its row, of attention under a mask."""

    def of(self, tokens: int) -> float:
        """Of a row."""
        return tokens * (self.token + tokens * self.pair)


class Tree(NamedTuple, Generic[S]):
    """Documents that share their first tokens."""

    shared: int
    """Tokens of the prefix; 0 for a document alone. None of them is learned, and neither is the
    first token behind it, so that each learned token has its predecessor to its left."""
    samples: tuple[S, ...]

    def __len__(self) -> int:
        return self.shared + sum(len(sample) - self.shared for sample in self.samples)


def alone(sample: S) -> Tree[S]:
    return Tree(0, (sample,))


class Batch(NamedTuple, Generic[S]):
    """One micro-batch: rows x longest row."""

    token_ids: Tensor
    """int64; 0 for padding."""
    positions: Tensor
    """int64; counted within each document."""
    learned: Tensor
    """bool; true where the loss counts the token."""
    branches: Tensor | None
    """int64, rows x longest row x 2: the number of the token's tree in its row, and of its document
    in the tree, 0 for the prefix. None if no documents share a prefix."""
    samples: tuple[S, ...]
    """The documents row by row. The learned tokens of the batch are those of the samples in this
    order."""
    starts: tuple[int, ...]
    """The column at which each sample, or its rest behind a shared prefix, begins in its row."""


def attention_mask(branches: Tensor) -> Tensor:
    """Which tokens each token sees: bool, rows x 1 x tokens x tokens, from `Batch.branches`."""
    tree, branch = branches.unbind(-1)
    same_tree = tree[:, :, None] == tree[:, None, :]
    same_branch = branch[:, :, None] == branch[:, None, :]
    prefix = (branch == 0)[:, None, :]
    causal = torch.ones(2 * tree.shape[1:], dtype=torch.bool, device=tree.device).tril()
    return (same_tree & (same_branch | prefix) & causal)[:, None]


def pack(
    samples: Sequence[S], packing: Packing, cost: PackingCost | None = None
) -> list[list[list[Tree[S]]]]:
    """All samples as micro-batches of rows of trees; those with long rows come first.

    With `cost`, prefixes are shared where that costs less; without, no prefix is shared.
    """
    trees = _trees(samples, cost) if cost else [alone(sample) for sample in samples]
    rows = sorted(_rows(trees, packing.row_tokens), key=_length, reverse=True)
    found: list[list[list[Tree[S]]]] = []
    for row in rows:
        if found and _length(found[-1][0]) * (len(found[-1]) + 1) <= packing.batch_tokens:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _length(row: Sequence[Tree[S]]) -> int:
    return sum(map(len, row))


def _trees(samples: Sequence[S], cost: PackingCost) -> list[Tree[S]]:
    """The documents of every group in trees of the size that costs least."""
    families: dict[object, list[S]] = {}
    for sample in samples:
        families.setdefault(sample.family or sample.sample_id, []).append(sample)
    return [tree for family in families.values() for tree in _family(family, cost)]


def _family(family: list[S], cost: PackingCost) -> list[Tree[S]]:
    """The cheapest split into trees of similar lengths."""
    shared = _shared(family)
    plain = [alone(sample) for sample in family]
    if shared < 1 or len(family) < 2:
        return plain
    family = sorted(family, key=len)
    ways = [plain]
    for trees in range(1, len(family)):
        bounds = [len(family) * n // trees for n in range(trees + 1)]
        ways.append([Tree(shared, tuple(family[i:j])) for i, j in pairwise(bounds)])
    costs = [sum(cost.of(len(tree)) for tree in way) for way in ways]
    best = min(range(len(ways)), key=costs.__getitem__)
    return ways[best] if costs[best] <= WORTH * costs[0] else plain


def _shared(family: Sequence[Sample]) -> int:
    """Tokens that can be the prefix of all: equal, and two before the first learned one at most."""
    least = min(int(sample.learned.int().argmax()) for sample in family) - 1
    first = family[0].token_ids[:least]
    for sample in family[1:]:
        differs = (sample.token_ids[: len(first)] != first).nonzero()
        first = first[: int(differs[0])] if len(differs) else first
    return len(first)


def _rows(trees: Sequence[Tree[S]], size: int) -> list[list[Tree[S]]]:
    """Best fit decreasing: each tree goes into the row where it leaves the least room."""
    rows: list[list[Tree[S]]] = []
    room: list[tuple[int, int]] = []  # sorted pairs of free tokens and row number
    for tree in sorted(trees, key=len, reverse=True):
        place = bisect_left(room, (len(tree), 0))
        if place < len(room):
            free, number = room.pop(place)
            rows[number].append(tree)
        else:
            free, number = size, len(rows)
            rows.append([tree])
        if free > len(tree):
            insort(room, (free - len(tree), number))
    return rows


def collate(rows: Sequence[Sequence[Tree[S]]]) -> Batch[S]:
    """Place the trees of each row side by side and pad the rows to the longest."""
    shape = (len(rows), max(map(_length, rows)))
    token_ids = torch.zeros(shape, dtype=torch.long)
    # Each padding token is its own document at position 0, so that it attends to itself.
    positions = torch.zeros(shape, dtype=torch.long)
    learned = torch.zeros(shape, dtype=torch.bool)
    branches = torch.zeros((*shape, 2), dtype=torch.long)
    branches[..., 0] = -1 - torch.arange(shape[1])
    starts = []
    for number, row in enumerate(rows):
        start = 0
        for place, tree in enumerate(row):
            first, end = tree.samples[0], start + tree.shared
            token_ids[number, start:end] = first.token_ids[: tree.shared]
            positions[number, start:end] = torch.arange(tree.shared)
            branches[number, start : start + len(tree), 0] = place
            for branch, sample in enumerate(tree.samples, start=1):
                start, end = end, end + len(sample) - tree.shared
                starts.append(start)
                token_ids[number, start:end] = sample.token_ids[tree.shared :]
                positions[number, start:end] = torch.arange(tree.shared, len(sample))
                learned[number, start:end] = sample.learned[tree.shared :]
                branches[number, start:end, 1] = branch
            start = end
    shares = any(tree.shared for row in rows for tree in row)
    samples = tuple(sample for row in rows for tree in row for sample in tree.samples)
    return Batch(
        token_ids, positions, learned, branches if shares else None, samples, tuple(starts)
    )


def deal(packed: Sequence[Sequence[Sequence[Tree[S]]]], rank: int, size: int) -> list[Batch[S]]:
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
    return Batch(nothing, torch.arange(2)[None], nothing.bool(), None, (), ())
