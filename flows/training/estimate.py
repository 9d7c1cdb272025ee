"""What a training would need, from the sizes of model and data; imports no torch, trains nothing.

Memory is that of `trainer.sizing`. Work is counted in tokens of whole documents, prompts and
outputs included, since all of them are computed:

    SFT    one forward and backward pass over every kept row, for each epoch
    RL     the same over G rollouts of every mixed group and G branches of as many steps, and a
           forward pass before the first update (and one of the reference), each 1/3 of the work

A row of RL that teaches nothing is not computed, so the counts are upper bounds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from flows.terminal.failures import FlowError
from flows.training.settings import RoundsConfig
from storage.datasets import Store
from storage.errors import NotFound
from storage.records import Level
from storage.versions import DatasetVersion
from trainer.settings import SftConfig, Training
from trainer.sizing import USABLE, Holding, choose, size_from_config

FORWARD = 1 / 3
"""Work of a forward pass, in units of a forward and backward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine that is planned with."""

    processes: int
    memory_gb: float
    """Of one device."""
    throughput: float | None
    """Tokens per second that one device computes forward and backward; None if not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The estimate of one fine-tuning or one round of RL."""

    holding: Holding
    rows: int
    mean_tokens: float
    longest_tokens: int
    steps: int
    tokens: float
    """Of all steps."""
    passes: float
    """Work of a token, in forward and backward passes."""
    flops_per_token: float
    lengths_from: str
    hardware: Hardware

    @property
    def tokens_per_step(self) -> float:
        return self.tokens / self.steps

    @property
    def seconds(self) -> float | None:
        """Of all steps; None if the throughput is not known."""
        if self.hardware.throughput is None:
            return None
        return self.tokens * self.passes / (self.hardware.throughput * self.hardware.processes)

    def document(self) -> dict[str, Any]:
        memory = {part: value / 1e9 for part, value in self.holding.memory._asdict().items()}
        return {
            **{name: value for name, value in asdict(self).items() if name != "holding"},
            "sharding": self.holding.sharding.value,
            "gradient_checkpointing": self.holding.gradient_checkpointing,
            "memory_gb": {**memory, "total": self.holding.memory.total / 1e9},
            "fits": self.holding.fits,
            "reason": self.holding.reason,
            "tokens_per_step": self.tokens_per_step,
            "seconds": self.seconds,
        }


class NothingToEstimate(FlowError):
    """The data does not say how much would be trained."""

    kind = "training"


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Documents of one level."""

    rows: int
    mean: float
    longest: int


def estimate_sft(
    folder: Path, dataset: DatasetVersion, config: SftConfig, hardware: Hardware
) -> Plan:
    """A fine-tuning on the kept rows of a version. Raises NothingToEstimate, UnknownShape."""
    lengths = _measured(dataset, kept_only=True).get(Level.TRAJECTORY)
    if lengths is None:
        raise NothingToEstimate(
            f"{dataset} has no kept row with tokens, so their lengths are not known",
            "estimate with data that was made through an engine which returns token ids",
        )
    steps = config.epochs * -(-lengths.rows // config.batch_samples)
    tokens = config.epochs * lengths.rows * lengths.mean
    return _plan(folder, config, hardware, lengths, steps, tokens, 1.0, f"kept rows of {dataset}")


def estimate_round(folder: Path, store: Store, config: RoundsConfig, hardware: Hardware) -> Plan:
    """One round of RL, with the lengths of the latest rollouts if there are any, else with the
    longest that the settings allow.

    Raises NothingToEstimate if the settings do not say how many groups a round has, UnknownShape.
    """
    rollouts, update = config.rollouts, config.update
    groups = rollouts.groups or rollouts.problems.limit
    if groups is None:
        raise NothingToEstimate(
            "a round over all problems has no fixed size", "set rollouts.groups"
        )
    found = _latest(store, rollouts.dataset)
    limit = rollouts.loop.tokens
    measured = _measured(found) if found else {}
    whole = measured.get(Level.TRAJECTORY, _Lengths(0, limit, limit))
    rows, tokens, longest = groups * rollouts.samples, groups * rollouts.samples * whole.mean, 0
    if branches := rollouts.branches:
        most = limit + branches.tokens
        step = measured.get(Level.STEP, _Lengths(0, most, most))
        rows += groups * branches.samples
        tokens += groups * branches.samples * step.mean
        longest = step.longest
    lengths = _Lengths(rows, tokens / rows, max(longest, whole.longest))
    passes = 1 + FORWARD * (2 if update.loss.kl else 1)
    source = str(found) if found else f"the limits of the settings ({limit} tokens a reply)"
    return _plan(folder, update, hardware, lengths, update.updates, tokens, passes, source)


def _plan(
    folder: Path,
    config: Training,
    hardware: Hardware,
    lengths: _Lengths,
    steps: int,
    tokens: float,
    passes: float,
    lengths_from: str,
) -> Plan:
    shape = json.loads((folder / "config.json").read_bytes())
    longest = min(lengths.longest, config.maximum_length or lengths.longest)
    size = size_from_config(shape, max(config.layout.batch_tokens, longest))
    memory = USABLE * hardware.memory_gb * 1e9
    again = config.model.gradient_checkpointing
    return Plan(
        holding=choose(size, memory, hardware.processes, config.sharding, again),
        rows=lengths.rows,
        mean_tokens=lengths.mean,
        longest_tokens=longest,
        steps=steps,
        tokens=tokens,
        passes=passes,
        flops_per_token=size.flops(lengths.mean),
        lengths_from=lengths_from,
        hardware=hardware,
    )


def _latest(store: Store, name: str) -> DatasetVersion | None:
    try:
        return store.version(name)
    except NotFound:
        return None


def _measured(dataset: DatasetVersion, kept_only: bool = False) -> Mapping[str, _Lengths]:
    """The documents that have tokens, by level; a level without any is left out."""
    found: dict[str, list[int]] = {}
    for batch in dataset.batches(["level", "loss_mask", "filters.list.element.kept"]):
        lengths = pc.list_value_length(batch.column("loss_mask")).to_pylist()
        facts = batch.select(["level", "filters"]).to_pylist()
        for length, fact in zip(lengths, facts, strict=True):
            kept = all(verdict["kept"] for verdict in fact["filters"])
            if length and (kept or not kept_only):
                found.setdefault(fact["level"], []).append(length)
    return {
        level: _Lengths(len(lengths), sum(lengths) / len(lengths), max(lengths))
        for level, lengths in found.items()
    }
