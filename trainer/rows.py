"""Reads a dataset's rows as training samples, by columns.

Every process reads its share of the row groups and writes their tensors into a file that all map
into memory, so that each row is read once and the system keeps one copy of it for all processes of
a machine. A round of RL is read twice: first what decides its credit, then the tokens of the rows
that teach.
"""

from __future__ import annotations

import json
import mmap
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields
from functools import cache
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, Generic

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from storage.records import UNVERIFIABLE, Ending, Level, Outcome, reward_of
from storage.versions import DatasetVersion
from trainer.advantage import CreditRow
from trainer.distributed import World
from trainer.samples import Rollout, S, Sample
from trainer.settings import OverlongRule

_FACTS = [
    "trajectory_id", "dataset", "level", "group_id", "ending", "correct", "method", "final_answer",
    "prompt_length",
]  # fmt: skip
CREDIT_COLUMNS = [
    *_FACTS, "loss_mask", "steps.list.element.action", "steps.list.element.outcome"
]  # fmt: skip
ROLLOUT_COLUMNS = [
    "trajectory_id", "level", "group_id", "sampling", "token_ids", "loss_mask", "logprobs",
]  # fmt: skip
SFT_COLUMNS = [
    "trajectory_id", "level", "engine", "filters.list.element.kept", "token_ids", "loss_mask",
    "prompt_length",
]  # fmt: skip
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


def credit_rows(dataset: DatasetVersion, world: World) -> list[CreditRow]:
    """What decides the credit of every row of a round, in the order of the ids.

    Raises ValueError for a row without a group.
    """
    batches = dataset.batches(CREDIT_COLUMNS, world.rank, world.size)
    own = [row for batch in batches for row in rows_of(batch)]
    return sorted(chain.from_iterable(world.gather(own)), key=lambda row: row.trajectory_id)


def rows_of(batch: pa.RecordBatch) -> Iterator[CreditRow]:
    """The rows of a batch with `CREDIT_COLUMNS`. Raises ValueError for a row without a group."""
    facts = batch.select([*_FACTS, "steps"])
    for row, mask in zip(facts.to_pylist(), _lists(batch, "loss_mask"), strict=True):
        yield _row(row, mask)


def _row(row: dict[str, Any], mask: np.ndarray[Any, Any]) -> CreditRow:
    if row["group_id"] is None:
        raise ValueError(
            f"{row['trajectory_id']} of {row['dataset']!r} has no group to be compared in; "
            "train on a version whose rows are rollouts"
        )
    level, ending, steps = Level(row["level"]), Ending(row["ending"]), row["steps"]
    said = [step["outcome"] for step in steps if step["action"] is not None]
    outcomes = [outcome and Outcome(outcome) for outcome in said]
    unverifiable = row["method"] == UNVERIFIABLE
    stopped = ending in (Ending.FINISHED, Ending.OFF_FORMAT)
    in_words = not steps or steps[-1]["action"] is None
    return CreditRow(
        trajectory_id=row["trajectory_id"],
        level=level,
        group_id=row["group_id"],
        reward=reward_of(level, ending, bool(row["correct"]), unverifiable, outcomes),
        unverifiable=unverifiable,
        calls=len(outcomes),
        failed_calls=sum(one is not None and one.is_code_failure for one in outcomes),
        sampled=int(mask.sum()),
        reply_tokens=len(mask) - row["prompt_length"],
        cut_off=ending.is_truncated,
        void=stopped and in_words and row["final_answer"] is None,
    )


def rollouts(
    dataset: DatasetVersion, advantages: Mapping[str, float], world: World
) -> Iterator[Rollout]:
    """This process's share of the rows that have an advantage. Raises as `rollouts_of`."""
    for batch in dataset.batches(ROLLOUT_COLUMNS, world.rank, world.size):
        yield from rollouts_of(batch, advantages)


def rollouts_of(batch: pa.RecordBatch, advantages: Mapping[str, float]) -> Iterator[Rollout]:
    """The rows of a batch with `ROLLOUT_COLUMNS` that have an advantage.

    Raises ValueError for rows that were not sampled from the policy's plain distribution at
    temperature 1, because the importance ratio would be biased.
    """
    streams = (_lists(batch, name) for name in ("token_ids", "loss_mask", "logprobs"))
    names = ("trajectory_id", "level", "group_id", "sampling")
    columns = (batch.column(name).to_pylist() for name in names)
    for values, ids, mask, logprobs in zip(zip(*columns, strict=True), *streams, strict=True):
        name, level, group, sampling = values
        if name not in advantages:
            continue
        _require_plain_sampling(sampling)
        if np.isnan(logprobs[mask]).any():
            raise ValueError(
                f"{name} has tokens that its policy did not sample; "
                "train on rollouts, not on trajectories that a critic rewrote"
            )
        yield Rollout(
            sample_id=name,
            token_ids=torch.from_numpy(ids.copy()),
            learned=torch.from_numpy(mask.copy()),
            level=Level(level),
            group_id=group,
            advantage=advantages[name],
            sampler_logprobs=torch.from_numpy(logprobs[mask]),
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


def sft_samples(
    dataset: DatasetVersion, learn_observations: bool, world: World
) -> Iterator[Sample]:
    """This process's share of the kept trajectories, as recorded (method E3)."""
    for batch in dataset.batches(SFT_COLUMNS, world.rank, world.size):
        yield from sft_samples_of(batch, learn_observations)


def sft_samples_of(batch: pa.RecordBatch, learn_observations: bool = False) -> Iterator[Sample]:
    """The kept trajectories of a batch with `SFT_COLUMNS`.

    `learn_observations` also trains on what the executor wrote, as the paper's equation reads
    (method A14). Raises ValueError where a row has no token ids.
    """
    kept = [
        row["level"] == Level.TRAJECTORY and all(verdict["kept"] for verdict in row["filters"])
        for row in batch.select(["level", "filters"]).to_pylist()
    ]
    batch = batch.filter(pa.array(kept, pa.bool_()))
    engines = batch.column("engine").to_pylist()
    for sample, engine in zip(_samples(batch, learn_observations), engines, strict=True):
        if isinstance(sample, str):
            raise ValueError(
                f"{sample} has no token ids ({engine}); "
                "`tirgen policy sft` writes such rows with the policy's own tokenizer"
            )
        yield sample


def prepared_samples(path: Path, learn_observations: bool, world: World) -> Iterator[Sample]:
    """This process's share of a file with the columns of `PREPARED`."""
    with pq.ParquetFile(path) as file:
        groups = list(range(world.rank, file.num_row_groups, world.size))
        for batch in file.iter_batches(row_groups=groups, columns=PREPARED.names):
            for sample in _samples(batch, learn_observations):
                if isinstance(sample, str):
                    raise ValueError(f"{path} has no tokens for {sample}")
                yield sample


def prepared_rows(path: Path) -> dict[str, int]:
    """The row counts of a prepared file, by how rows were prepared."""
    metadata = pq.read_metadata(path).metadata or {}
    rows: dict[str, int] = json.loads(metadata.get(ROWS.encode(), b"{}"))
    return rows


def _samples(batch: pa.RecordBatch, learn_observations: bool) -> Iterator[Sample | str]:
    """The samples of a batch; the id of a row that has no tokens."""
    streams = (_lists(batch, name) for name in ("token_ids", "loss_mask"))
    columns = (batch.column(name).to_pylist() for name in ("trajectory_id", "prompt_length"))
    for name, prompt, ids, mask in zip(*columns, *streams, strict=True):
        if not len(ids):
            yield name
            continue
        learned = torch.from_numpy(mask.copy())
        learned[:prompt] = False
        if learn_observations:
            learned[prompt:] = True
        yield Sample(sample_id=name, token_ids=torch.from_numpy(ids.copy()), learned=learned)


def _lists(batch: pa.RecordBatch, name: str) -> Iterator[np.ndarray[Any, Any]]:
    """The list of each row as a view of one array; a null in it is NaN."""
    column: Any = batch.column(name)
    items = column.flatten().to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().to_pylist()
    if not len(items):  # an empty list of flags comes as objects
        items = np.zeros(0, column.type.value_type.to_pandas_dtype())
    return (items[i:j] for i, j in pairwise(accumulate(lengths, initial=0)))


class TooLong(ValueError):
    """A sample is too long, and `beyond` is ``refuse``."""


def fitting(
    own: Iterable[S], longest: int | None, beyond: OverlongRule, folder: Path, world: World
) -> tuple[list[S], int]:
    """All processes' samples of at most `longest` tokens, and how many were longer.

    `own` are this process's. They are sorted by id, because the order of stored rows depends on
    when they were finished. Their tensors are in files below `folder` that end with the processes.
    Raises TooLong.
    """
    longer = 0

    def short() -> Iterator[S]:
        nonlocal longer
        for sample in own:
            if longest is None or len(sample) <= longest:
                yield sample
                continue
            longer += 1
            if beyond is OverlongRule.REFUSE:
                raise TooLong(
                    f"{sample.sample_id} has {len(sample)} tokens, more than {longest}; raise "
                    "maximum_length, or set beyond to drop or truncate"
                )
            if beyond is OverlongRule.TRUNCATE and sample.learned[:longest].any():
                yield sample.first(longest)

    shared = share(short(), folder, world)
    return shared, sum(world.gather(longer))


def share(own: Iterable[S], folder: Path, world: World) -> list[S]:
    """The samples of all processes, sorted by id, with all tensors in files mapped into memory.

    The system reads pages when they are used and drops them when memory is short. The files are
    gone from `folder` when this returns; the space is freed when the processes end.
    """
    made = tempfile.mkdtemp(prefix=".samples-", dir=folder) if world.leads else ""
    files = Path(world.gather(made)[0])
    try:
        parts = world.gather(_write(own, files / str(world.rank)))
        found = [
            sample for rank, part in enumerate(parts) for sample in _mapped(part, files / str(rank))
        ]
        world.wait()
    finally:
        if world.leads:
            shutil.rmtree(files, ignore_errors=True)
    return sorted(found, key=lambda sample: sample.sample_id)


_Place = tuple[int, int, torch.dtype]
"""Offset in bytes, number of elements, and type of a tensor in a file."""
_ALIGNMENT = 8
"""Of tensors in a file, in bytes."""


@dataclass(frozen=True, slots=True)
class _Written(Generic[S]):
    """A sample without its tensors, and where they are."""

    sample: S
    places: dict[str, _Place]


def _write(samples: Iterable[S], path: Path) -> list[_Written[S]]:
    written: list[_Written[S]] = []
    with path.open("wb") as file:
        for sample in samples:
            places: dict[str, _Place] = {}
            for name, tensor in _tensors(sample).items():
                places[name] = (file.tell(), len(tensor), tensor.dtype)
                content = tensor.numpy().tobytes()
                file.write(content + bytes(-len(content) % _ALIGNMENT))
            bare = _with_tensors(sample, dict.fromkeys(places))
            written.append(_Written(bare, places))
    return written


def _mapped(written: Sequence[_Written[S]], path: Path) -> Iterator[S]:
    if not written:
        return
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    for one in written:
        tensors = {name: _tensor(content, *place) for name, place in one.places.items()}
        yield _with_tensors(one.sample, tensors)


def _tensor(file: mmap.mmap, offset: int, count: int, dtype: torch.dtype) -> Tensor:
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
