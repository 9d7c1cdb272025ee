"""Stored rows as training samples: token ids, and which of them are learned.

Masks are those recorded when the tokens were produced, never rebuilt from text (method D1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from storage.records import Level, Trajectory

S = TypeVar("S", bound="Sample")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One document of a training batch."""

    sample_id: str
    """The trajectory's id."""
    token_ids: Tensor
    """int32, length n."""
    learned: Tensor
    """bool, length n: the loss counts this token. Never true for the first, which nothing
    predicts."""

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.learned):
            raise ValueError(f"{self.sample_id}: token ids and mask differ in length")
        if not self.learned.any() or self.learned[0]:
            raise ValueError(
                f"{self.sample_id}: a sample needs a prompt and at least one token to learn"
            )

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def learned_count(self) -> int:
        return int(self.learned.sum())

    def first(self: S, length: int) -> S:
        """Its first so many tokens."""
        cut = {"token_ids": self.token_ids[:length], "learned": self.learned[:length]}
        return replace(self, **cut)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout(Sample):
    """A sample with what the policy update needs beside its tokens."""

    level: Level
    advantage: float
    sampler_logprobs: Tensor
    """float32, one per learned token: what the engine sampled them with."""

    def first(self, length: int) -> Rollout:
        kept = int(self.learned[:length].sum())
        return replace(
            self,
            token_ids=self.token_ids[:length],
            learned=self.learned[:length],
            sampler_logprobs=self.sampler_logprobs[:kept],
        )


PREPARED = pa.schema(
    {
        "trajectory_id": pa.string(),
        "token_ids": pa.list_(pa.int32()),
        "loss_mask": pa.list_(pa.bool_()),
        "prompt_length": pa.int32(),
    }
)
"""The columns of samples that were prepared for a policy, the prompt first in each."""
ROWS = "tirgen.rows"
"""Key of the file's metadata: how many rows went which way, as JSON."""


def in_order(samples: Iterable[S]) -> list[S]:
    """By id: rows lie in the order in which they were finished, which no seed decides."""
    return sorted(samples, key=lambda sample: sample.sample_id)


def sft_samples(rows: Iterable[Trajectory], learn_observations: bool = False) -> Iterator[Sample]:
    """The kept trajectories as samples for supervised fine-tuning (method E3), as recorded.

    `learn_observations` also trains on what the executor wrote, as the paper's equation reads
    (method A14). Raises ValueError where a row has no token ids.
    """
    for row in rows:
        if not row.kept or row.level is not Level.TRAJECTORY:
            continue
        stream = row.tokens
        if not stream.token_ids:
            raise ValueError(
                f"{row.trajectory_id} has no token ids ({row.provenance.engine}); "
                "`tirgen policy sft` writes such rows with the policy's own tokenizer"
            )
        yield _sample(
            row.trajectory_id,
            stream.token_ids,
            stream.loss_mask,
            stream.prompt_length,
            learn_observations,
        )


def prepared_samples(path: Path, learn_observations: bool = False) -> Iterator[Sample]:
    """The samples of a file with the columns `PREPARED`."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=PREPARED.names):
            for row in batch.to_pylist():
                yield _sample(
                    row["trajectory_id"],
                    row["token_ids"],
                    row["loss_mask"],
                    row["prompt_length"],
                    learn_observations,
                )


def prepared_rows(path: Path) -> dict[str, int]:
    """How many rows went which way when the file was prepared."""
    metadata = pq.read_metadata(path).metadata or {}
    rows: dict[str, int] = json.loads(metadata.get(ROWS.encode(), b"{}"))
    return rows


def _sample(
    sample_id: str,
    token_ids: Sequence[int],
    mask: Sequence[bool],
    prompt_length: int,
    learn_observations: bool,
) -> Sample:
    learned = torch.tensor(mask)
    learned[:prompt_length] = False
    if learn_observations:
        learned[prompt_length:] = True
    return Sample(
        sample_id=sample_id,
        token_ids=torch.tensor(token_ids, dtype=torch.int32),
        learned=learned,
    )


class Beyond(StrEnum):
    """What becomes of a sample that is longer than it may be."""

    DROP = "drop"
    TRUNCATE = "truncate"
    """Its end is cut off; what is left of it is learned, if anything."""
    REFUSE = "refuse"
    """Nothing is trained."""


class TooLong(ValueError):
    """A sample is longer than it may be, and the configuration refuses that."""


def fitting(samples: Iterable[S], longest: int | None, beyond: Beyond) -> tuple[list[S], int]:
    """The samples of at most so many tokens, and how many were longer.

    Raises TooLong.
    """
    found: list[S] = []
    longer = 0
    for sample in samples:
        if longest is None or len(sample) <= longest:
            found.append(sample)
            continue
        longer += 1
        if beyond is Beyond.REFUSE:
            raise TooLong(
                f"{sample.sample_id} has {len(sample)} tokens where {longest} are the most; raise "
                "maximum_length, or set beyond to drop or truncate"
            )
        if beyond is Beyond.TRUNCATE and sample.learned[:longest].any():
            found.append(sample.first(longest))
    return found, longer


def rollouts(rows: Iterable[Trajectory], advantages: Mapping[str, float]) -> Iterator[Rollout]:
    """The rows that have an advantage, with what the sampler said of their tokens.

    Raises ValueError for rows whose tokens were not all drawn from the policy's own distribution,
    at temperature 1: the importance ratio would be biased.
    """
    for row in rows:
        if row.trajectory_id not in advantages:
            continue
        _require_plain_sampling(row.provenance.sampling)
        stream = row.tokens
        learned = torch.tensor(stream.loss_mask)
        logprobs = [p for p, own in zip(stream.logprobs, stream.loss_mask, strict=True) if own]
        if None in logprobs:
            raise ValueError(
                f"{row.trajectory_id} has tokens that its policy did not sample; "
                "train on rollouts, not on trajectories that a critic rewrote"
            )
        yield Rollout(
            sample_id=row.trajectory_id,
            token_ids=torch.tensor(stream.token_ids, dtype=torch.int32),
            learned=learned,
            level=row.level,
            advantage=advantages[row.trajectory_id],
            sampler_logprobs=torch.tensor(logprobs, dtype=torch.float32),
        )


@cache
def _require_plain_sampling(sampling: str) -> None:
    """Refuse what cuts or bends the distribution that log-probabilities are reported of."""
    said = json.loads(sampling)
    bent = {
        name: said[name]
        for name, plain in (("temperature", (1,)), ("top_p", (1,)), ("top_k", (0, -1)))
        if name in said and said[name] not in plain
    }
    if bent:
        raise ValueError(
            f"the rollouts were sampled with {bent}, which biases the importance ratio; "
            "roll out with temperature 1, top_p 1 and top_k 0"
        )
