"""A pretraining corpus: read from a file and cut into padded batches of similar lengths."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import torch

SORTED_TOGETHER = 1024
"""Neighbouring samples that are sorted by length: little padding, and nearly the same order."""
IGNORED = -100
"""The label of a token that is not learned, as in torch."""


class TokenSample(NamedTuple):
    """One conversation as tokens; the mask is true where the token is learned."""

    token_ids: list[int]
    loss_mask: list[bool]


class PaddedBatch(NamedTuple):
    """Samples padded on the right, where causal attention never looks."""

    token_ids: torch.Tensor
    """int64, samples x longest."""
    labels: torch.Tensor
    """int64, the same shape: the token itself where it is learned, else `IGNORED`."""


def read_corpus(path: Path) -> list[TokenSample]:
    """Read the columns `token_ids` and `loss_mask` of a Parquet file.

    Raises ValueError for a row with lists of different lengths or no learned token.
    """
    table = pq.read_table(path, columns=["token_ids", "loss_mask"])
    columns = table.column("token_ids").to_pylist(), table.column("loss_mask").to_pylist()
    samples = [TokenSample(ids or [], mask or []) for ids, mask in zip(*columns, strict=True)]
    for row, (ids, mask) in enumerate(samples):
        if len(ids) != len(mask) or not any(mask[1:]):
            raise ValueError(
                f"{path} row {row}: ids and mask must have one length and learn a token"
            )
    return samples


def batches(samples: Sequence[TokenSample], seed: int, tokens: int) -> list[list[int]]:
    """Batches as lists of indices, with every sample once and at most `tokens` with padding.

    The corpus is in training order: `SORTED_TOGETHER` neighbours at a time are sorted by length
    and cut into batches, and these are shuffled. A longer sample is a batch of its own.
    """
    rng = random.Random(seed)
    found: list[list[int]] = []
    for start in range(0, len(samples), SORTED_TOGETHER):
        chunk = list(range(start, min(start + SORTED_TOGETHER, len(samples))))
        rng.shuffle(chunk)
        chunk.sort(key=lambda index: len(samples[index].token_ids))
        cut = list(_cut(samples, chunk, tokens))
        rng.shuffle(cut)
        found += cut
    return found


def padded(samples: Sequence[TokenSample], padding: int) -> PaddedBatch:
    """The samples as one batch, padded to the longest of them with the token `padding`."""
    longest = max(len(sample.token_ids) for sample in samples)
    ids = torch.full((len(samples), longest), padding)
    labels = torch.full((len(samples), longest), IGNORED)
    for row, sample in enumerate(samples):
        tokens = torch.tensor(sample.token_ids)
        ids[row, : len(tokens)] = tokens
        labels[row, : len(tokens)] = torch.where(torch.tensor(sample.loss_mask), tokens, IGNORED)
    return PaddedBatch(ids, labels)


def _cut(samples: Sequence[TokenSample], chunk: list[int], tokens: int) -> Iterator[list[int]]:
    """Cut indices, sorted by length, where one more would make the padded batch too large."""
    batch: list[int] = []
    for index in chunk:
        if batch and len(samples[index].token_ids) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
