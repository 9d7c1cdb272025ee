"""CPU-seconds of training the pocket on its own data, beside TRL: fine-tuning, and an RL update.

The pocket is fine-tuned on its own trajectories and sampled once, with branches of its failed
steps. Each way then makes the forward and backward passes of the whole round as one update, with
the same model, in one thread, prefixes shared or not; CPU-seconds of the best of some runs. The
fine-tuning is one epoch with the optimiser.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import Result, narrate
from benchmarks._trl import BATCH, grpo_pass, sft_epoch
from flows.training.fine_tune import fine_tune
from flows.training.models import find_model, published, recipe, serving, training_names
from flows.training.settings import rounds_settings, sft_settings
from storage.datasets import Store
from storage.records import Level
from storage.versions import DatasetVersion
from tirgen.embedded.models import MODEL_DIR
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.rollout import collect_rollouts
from trainer.advantage import credit
from trainer.distributed import World, joined
from trainer.hierarchical import STATISTICS
from trainer.model import Scorer, Scores, load_policy, score, sharing_cost
from trainer.optimisation import Optimizer
from trainer.packing import Batch, PackingCost, collate, pack
from trainer.rl import shares
from trainer.rows import credit_rows, rollouts, sft_samples, share
from trainer.samples import Rollout
from trainer.settings import (
    CreditConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Packing,
    SftConfig,
)
from trainer.sft import shares as sft_shares

CLAIM = (
    "On a round of the pocket, an update that computes shared prefixes once costs at most 0.8 of "
    "the CPU-seconds of one that does not and of TRL's loss, with the same gradient but for "
    "rounding in float32 (1e-5 of its norm)."
)
PACKING = Packing(row_tokens=1, batch_tokens=2048)
"""The pocket's: a row for each document or tree."""
LOSS = LossConfig(nll=0)


class Pass(NamedTuple):
    """One forward and backward pass over the round."""

    seconds: float
    tokens: int
    loss: float
    gradient: Tensor


def run(quick: bool) -> Result:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, joined() as world:
        store = Store(Path(folder))
        policy, dataset = asyncio.run(_round(store, groups=4 if quick else 24))
        samples = _samples(dataset, store.root, world)
        found = _compare(policy, samples, world, repeats=1 if quick else 3)
        return _with_sft(found, store, world)


def _with_sft(result: Result, store: Store, world: World) -> Result:
    """The figures of a fine-tuning beside those of the update."""
    samples = share(sft_samples(store.version("tir"), False, world), store.root, world)
    narrate(f"fine-tuning on {len(samples)} samples")
    scorer = Scorer(load_policy(MODEL_DIR, ModelConfig(), seed=0))
    optimizer = Optimizer(scorer, OptimizerConfig(learning_rate=1e-4), world)
    config = SftConfig(packing=PACKING)
    started = time.process_time()
    for number, start in enumerate(range(0, len(samples), BATCH)):
        optimizer.step(number, sft_shares(samples[start : start + BATCH], config, world))
    ours = {**result.ours, "sft_cpu_s": round(time.process_time() - started, 2)}
    peers = dict(result.peers)
    if seconds := sft_epoch(MODEL_DIR, samples):
        name = next(peer for peer in peers if peer.startswith("trl"))
        peers[name] = {**peers[name], "sft_cpu_s": round(seconds, 2)}
    return replace(result, ours=ours, peers=peers)


async def _round(store: Store, groups: int) -> tuple[Path, DatasetVersion]:
    """The folder of a fine-tuned pocket, and rollouts of it with branches."""
    narrate("generating and fine-tuning")
    made = recipe()
    await generate(GenerateConfig.model_validate({**made["generate"], "dataset": "tir"}), store)
    model = find_model(store, "")
    names = training_names(store, "pi", model, "tir")
    tuned = await fine_tune(names, sft_settings(model.folder, None, {}))
    narrate("sampling a round")
    parent = published(tuned.policy)
    settings = rounds_settings(parent.folder, "pi", None, {"rollouts.groups": groups})
    report = await collect_rollouts(await serving(settings.rollouts, parent), store)
    return parent.folder, report.version


def _samples(dataset: DatasetVersion, folder: Path, world: World) -> list[Rollout]:
    advantages = credit(credit_rows(dataset, world), CreditConfig()).advantages
    return share(rollouts(dataset, advantages, world), folder, world)


def _compare(policy: Path, samples: list[Rollout], world: World, repeats: int) -> Result:
    model = load_policy(policy, ModelConfig(), seed=0)
    scorer = Scorer(model)
    cost = sharing_cost(model, PACKING)
    levels = {"round": samples} | {
        level.value: [sample for sample in samples if sample.level is level] for level in Level
    }
    ours: dict[str, float | int] = {}
    plain: dict[str, float | int] = {}
    trl: dict[str, float | int] = {}
    difference = 0.0
    for name, chosen in levels.items():
        narrate(f"{name}: {len(chosen)} samples")
        passes = [_best(repeats, _passes(scorer, chosen, way, world)) for way in (cost, None)]
        shared, alone = passes
        for figures, found in ((ours, shared), (plain, alone)):
            figures |= {f"{name}_cpu_s": round(found.seconds, 2), f"{name}_tokens": found.tokens}
        gap = (shared.gradient - alone.gradient).norm() / alone.gradient.norm()
        difference = max(difference, float(gap))
        if seconds := grpo_pass(policy, chosen, repeats):
            trl[f"{name}_cpu_s"] = round(seconds, 2)
    ours["gradient_difference"] = float(f"{difference:.1e}")
    peers = {"prefixes computed for each": plain}
    if trl:
        peers[f"trl {_version('trl')}"] = trl
    reached = difference <= 1e-5 and all(
        ours["round_cpu_s"] <= 0.8 * figures["round_cpu_s"] for figures in peers.values()
    )
    note = (
        f"{len(samples)} samples of one round, forward and backward, one thread, best of {repeats};"
        " TRL pads each batch of 16 to its longest sample"
    )
    return Result(ours=ours, peers=peers, reached=reached, note=note)


def _passes(
    scorer: Scorer, samples: Sequence[Rollout], cost: PackingCost | None, world: World
) -> Callable[[], Pass]:
    batches = [collate(rows) for rows in pack(samples, PACKING, cost)]
    scored = [(batch, _old(scorer, batch, world)) for batch in batches]
    tokens = sum(int(batch.positions.numel()) for batch in batches)

    def once() -> Pass:
        sums = torch.zeros(len(Level), len(STATISTICS), dtype=torch.float64)
        scorer.zero_grad()
        started, total = time.process_time(), 0.0
        for part in shares(samples, scored, [None for _ in batches], LOSS, sums):
            loss = part.loss(score(scorer, part.batch, world.device).logprobs)
            loss.backward()
            total += float(loss)
        seconds = time.process_time() - started
        gradient = torch.cat([weight.grad.flatten() for weight in scorer.parameters()])
        return Pass(seconds, tokens, total, gradient)

    return once


def _old(scorer: Scorer, batch: Batch[Rollout], world: World) -> Scores:
    with torch.no_grad():
        return score(scorer, batch, world.device)


def _best(repeats: int, once: Callable[[], Pass]) -> Pass:
    return min((once() for _ in range(repeats)), key=lambda found: found.seconds)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
