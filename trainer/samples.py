"""Stored rows as training samples: token ids and which of them are learned.

Masks were recorded when the tokens were produced; they are never rebuilt from text (method D1).
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
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
    """bool, length n: whether the loss counts the token; never the first, which has no context."""

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
        """The sample cut to its first `length` tokens."""
        cut = {"token_ids": self.token_ids[:length], "learned": self.learned[:length]}
        return replace(self, **cut)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout(Sample):
    """A sample with what the policy update needs in addition."""

    level: Level
    advantage: float
    sampler_logprobs: Tensor
    """float32, one per learned token: log-probabilities reported by the engine."""

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
"""The columns of a file of prepared samples; each begins with its prompt."""
ROWS = "tirgen.rows"
"""Key in the file's metadata of the row counts by how they were prepared, as JSON."""


def in_order(samples: Iterable[S]) -> list[S]:
    """Sorted by id, because the order of stored rows depends on when they were finished."""
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
    """The samples of a file with the columns of `PREPARED`."""
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
    """The row counts of a prepared file, by how rows were prepared."""
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
    """What to do with a sample that is too long."""

    DROP = "drop"
    TRUNCATE = "truncate"
    """The end is cut off; the rest is learned if it has learned tokens."""
    REFUSE = "refuse"
    """Training stops with an error."""


class TooLong(ValueError):
    """A sample is too long, and `beyond` is ``refuse``."""


def fitting(
    samples: Iterable[S], longest: int | None, beyond: Beyond, folder: Path
) -> tuple[list[S], int]:
    """The samples of at most `longest` tokens, and how many were longer.

    Their tensors are in a temporary file in `folder` (`on_disk`). Raises TooLong.
    """
    longer = 0

    def short() -> Iterator[S]:
        nonlocal longer
        for sample in samples:
            if longest is None or len(sample) <= longest:
                yield sample
                continue
            longer += 1
            if beyond is Beyond.REFUSE:
                raise TooLong(
                    f"{sample.sample_id} has {len(sample)} tokens, more than {longest}; raise "
                    "maximum_length, or set beyond to drop or truncate"
                )
            if beyond is Beyond.TRUNCATE and sample.learned[:longest].any():
                yield sample.first(longest)

    return on_disk(short(), folder), longer


def on_disk(samples: Iterable[S], folder: Path) -> list[S]:
    """The samples with all tensors in a file that is mapped into memory.

    The system reads pages when they are used and drops them when memory is short. The file has no
    name in `folder` and ends with the process.
    """
    written: list[tuple[S, dict[str, tuple[int, int, torch.dtype]]]] = []
    with TemporaryFile(dir=folder) as file:
        for sample in samples:
            places = {}
            for name, tensor in _tensors(sample).items():
                places[name] = (file.tell(), len(tensor), tensor.dtype)
                content = tensor.numpy().tobytes()
                file.write(content + bytes(-len(content) % _ALIGNMENT))
            written.append((_with_tensors(sample, dict.fromkeys(places)), places))
        if not written:
            return []
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return [
        _with_tensors(sample, {name: _mapped(mapped, *place) for name, place in places.items()})
        for sample, places in written
    ]


_ALIGNMENT = 8
"""Of tensors in the file, in bytes."""


def _mapped(file: mmap.mmap, offset: int, count: int, dtype: torch.dtype) -> Tensor:
    if count == 0:
        return torch.zeros(0, dtype=dtype)
    return torch.frombuffer(file, dtype=dtype, count=count, offset=offset)


def _tensors(sample: Sample) -> dict[str, Tensor]:
    values = {field.name: getattr(sample, field.name) for field in fields(sample)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _with_tensors(sample: S, tensors: Mapping[str, Tensor | None]) -> S:
    """A copy with other tensors; without the checks of a new sample, since they may be None."""
    changed = copy(sample)
    for name, tensor in tensors.items():
        object.__setattr__(changed, name, tensor)
    return changed


def rollouts(rows: Iterable[Trajectory], advantages: Mapping[str, float]) -> Iterator[Rollout]:
    """The rows that have an advantage as samples.

    Raises ValueError for rows that were not sampled from the policy's plain distribution at
    temperature 1, because the importance ratio would be biased.
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
    """Refuse sampling parameters that change the distribution of the log-probabilities."""
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
