"""The update of a hierarchical RL round: from stored rollouts to the next policy version.

The rows of the round get advantages (`trainer.advantage`), are split over a few optimiser steps,
and are scored once by the policy of the round's beginning, which gives pi_old of every ratio. An
interrupted round computes these scores again and resumes from its last checkpoint.

Where an older policy sampled the rollouts (`Names.sampler`), pi_old is still that of the round's
beginning, and the importance weight between it and the sampler corrects for the age, as in AReaL
(arXiv 2505.24298, the decoupled objective).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from storage.groups import FailedCode
from storage.policies import PolicyVersion
from storage.records import Level
from storage.versions import DatasetVersion
from trainer.advantage import Credit, credit
from trainer.distributed import World, open_scorer
from trainer.hierarchical import (
    STATISTICS,
    Tokens,
    Weights,
    hierarchical_loss,
    means,
    token_sums,
    weights,
)
from trainer.model import Scores, empty_policy, score, sharing_cost
from trainer.optimisation import Share
from trainer.oracle import Gap, require_agreement
from trainer.packing import Batch, deal, pack
from trainer.rows import credit_rows, fitting, rollouts
from trainer.run import Lineage, OnEvent, TrainingRun, hold, ignore, sized
from trainer.samples import Rollout
from trainer.settings import LossConfig, Names, RlConfig

Scored = list[tuple[Batch[Rollout], Scores]]
"""Micro-batches with the scores of a policy, mostly that of the round's beginning."""


def train_rl(
    names: Names, config: RlConfig, world: World, on_event: OnEvent = ignore
) -> PolicyVersion:
    """Update the parent with the dataset's rollouts, and publish it.

    Started again with the same arguments, an interrupted round resumes and ends with the same
    weights; a finished one returns its published version.

    Raises ValueError if no group has an advantage or the rows are no rollouts of a policy, TooLong,
    and SamplerMismatch if the engine sampled from another policy than it should have.
    """
    lineage = Lineage(names, config)
    if lineage.published:
        return lineage.published
    credited = _credited(lineage.dataset, config, world)
    own = rollouts(lineage.dataset, credited.advantages, world)
    most = lineage.longest(config)
    samples, longer = fitting(own, most, config.beyond, names.store, world)
    if not samples:
        raise ValueError(
            f"no group of {lineage.dataset} teaches anything ({_drops(credited)}); roll out more "
            "problems, or ones that the policy solves sometimes"
        )
    plan = split(samples, config.updates, config.seed)
    empty = empty_policy(lineage.parent_folder, config.model, config.seed)
    cost = sharing_cost(empty, config.layout)
    packed = [pack(update, config.layout, cost) for update in plan]
    dealt = [deal(batches, world.rank, world.size) for batches in packed]
    lengths = [[len(t) for batch in batches for row in batch for t in row] for batches in packed]
    computed = sum(map(sum, lengths))
    tokens = {"tokens": sum(map(len, samples)), "computed_tokens": computed}
    if world.leads:
        on_event({"event": "packed", **tokens})
    longest = max(map(len, samples))
    references = _references(dealt, config, longest, world)
    sampler = names.sampler or lineage.parent_name
    # Its scores of the first update stand for all: they only show which policy it was.
    seen = (
        _scored_by(lineage.folder_of(names.sampler), dealt[:1], config, longest, world)
        if names.sampler
        else []
    )
    run = TrainingRun(lineage, config, longest, world, on_event)
    run.check_scores(dealt[0][0])
    old = [[(batch, _scores(run.scorer, batch, world)) for batch in update] for update in dealt]
    gap = _oracle(list(chain.from_iterable(seen or old)), sampler, config.oracle_bound, world)
    run.resume(len(plan))
    if run.steps == 0 and config.carry_moments and _has_moments(lineage, config):
        run.carry_moments()
    _train(run, plan, old, references, lengths, config)
    return run.publish("rl", {**_summary(credited, gap), **tokens, "too_long": longer})


def split(samples: Sequence[Rollout], updates: int, seed: int) -> list[list[Rollout]]:
    """The samples of each level, divided equally over the updates.

    Groups are shuffled by the seed and stay together, but for those at the edges, so that their
    prefixes can be shared. There are never more updates than samples of the larger level.
    """
    rng = random.Random(seed)
    levels = [[sample for sample in samples if sample.level is level] for level in Level]
    updates = min(updates, max(map(len, levels)))
    parts: list[list[Rollout]] = [[] for _ in range(updates)]
    for level in levels:
        groups: dict[str, list[Rollout]] = {}
        for sample in level:
            groups.setdefault(sample.group_id, []).append(sample)
        order = rng.sample(list(groups), len(groups))
        flat = [sample for group in order for sample in groups[group]]
        for number, part in enumerate(parts):
            part += flat[len(flat) * number // updates : len(flat) * (number + 1) // updates]
    return parts


def shares(
    update: Sequence[Rollout],
    scored_batches: Scored,
    references: Sequence[Tensor | None],
    config: LossConfig,
    sums: Tensor,
) -> list[Share]:
    """This process's part of an update; computing the shares adds their `token_sums` to `sums`."""
    factors = {
        sample.sample_id: factor
        for sample, factor in zip(update, weights(update, config), strict=True)
    }

    def share(batch: Batch[Rollout], old: Scores, reference: Tensor | None) -> Share:
        tokens = _tokens(batch, [factors[s.sample_id] for s in batch.samples], old, reference)

        def loss(logprobs: Tensor) -> Tensor:
            sums.add_(token_sums(logprobs, tokens, config).cpu())
            return hierarchical_loss(logprobs, tokens, config)

        return Share(batch, loss)

    return [
        share(batch, old, reference)
        for (batch, old), reference in zip(scored_batches, references, strict=True)
    ]


def _tokens(
    batch: Batch[Rollout], factors: Sequence[Weights], old: Scores, reference: Tensor | None
) -> Tokens:
    samples, device = batch.samples, old.logprobs.device
    counts = torch.tensor([sample.learned_count for sample in samples], dtype=torch.long)

    def spread(values: list[float]) -> Tensor:
        """Repeat each sample's value for all its learned tokens."""
        return torch.tensor(values, dtype=torch.float32).repeat_interleave(counts).to(device)

    assert old.entropies is not None
    sampler = [torch.zeros(0), *(sample.sampler_logprobs for sample in samples)]
    return Tokens(
        advantages=spread([sample.advantage for sample in samples]),
        policy_weights=spread([factor.policy for factor in factors]),
        nll_weights=spread([factor.nll for factor in factors]),
        steps=spread([sample.level is Level.STEP for sample in samples]).bool(),
        sequences=torch.arange(len(samples)).repeat_interleave(counts).to(device),
        sampler_logprobs=torch.cat(sampler).to(device),
        old_logprobs=old.logprobs,
        entropies=old.entropies,
        reference_logprobs=reference,
    )


def _train(
    run: TrainingRun,
    plan: list[list[Rollout]],
    old: list[Scored],
    references: list[list[Tensor | None]],
    lengths: list[list[int]],
    config: RlConfig,
) -> None:
    """Take the remaining updates."""
    for number in range(run.steps, len(plan)):
        sums = torch.zeros(len(Level), len(STATISTICS), dtype=torch.float64)
        parts = shares(plan[number], old[number], references[number], config.loss, sums)
        loss, norm = run.optimizer.step(number, parts)
        report: dict[str, Any] = {
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": config.optimizer.rate(number),
            "levels": means(run.world.sum(sums)),
        }
        run.done(report, lengths[number])


def _credited(dataset: DatasetVersion, config: RlConfig, world: World) -> Credit:
    """The round's credit, with failed code treated as the rollouts were counted unless set."""
    made = dataset.manifest.get("config", {})
    failed_code = config.credit.failed_code or FailedCode(made.get("failed_code", "drop"))
    rules = config.credit.model_copy(update={"failed_code": failed_code})
    limit = made.get("loop", {}).get("tokens")
    return credit(credit_rows(dataset, world), rules, config.seed, limit)


def _scores(scorer: nn.Module, batch: Batch[Rollout], world: World) -> Scores:
    with torch.no_grad():
        return score(scorer, batch, world.device)


def _references(
    dealt: list[list[Batch[Rollout]]], config: RlConfig, longest: int, world: World
) -> list[list[Tensor | None]]:
    """log pi_ref of every batch, or None if `loss.kl` is 0."""
    if config.loss.kl == 0 or config.reference is None:
        return [[None for _ in update] for update in dealt]
    scored = _scored_by(config.reference, dealt, config, longest, world)
    return [[scores.logprobs for _, scores in update] for update in scored]


def _scored_by(
    folder: Path, dealt: list[list[Batch[Rollout]]], config: RlConfig, longest: int, world: World
) -> list[Scored]:
    """The scores of a policy that is not trained, and not kept."""
    whole = config.model.model_copy(update={"lora": None})
    alone = config.model_copy(update={"model": whole})
    holding = hold(sized(folder, alone, longest, world), alone, world)
    scorer = open_scorer(folder, whole, holding, config.seed, world)
    return [[(batch, _scores(scorer, batch, world)) for batch in update] for update in dealt]


def _oracle(scored_batches: Scored, policy: str, bound: float, world: World) -> Gap:
    samples = [sample for batch, _ in scored_batches for sample in batch.samples]
    logprobs = torch.cat([scores.logprobs.cpu() for _, scores in scored_batches])
    return require_agreement(samples, logprobs, policy, bound, world)


def _has_moments(lineage: Lineage, config: RlConfig) -> bool:
    """Whether the parent came from a round with usable moments; those of adapters are not."""
    from_round = lineage.parent is not None and lineage.parent.manifest["kind"] == "rl"
    return from_round and config.model.lora is None


def _drops(credited: Credit) -> str:
    found = [
        f"{level.value}: {', '.join(f'{n} {drop.value}' for drop, n in drops.items())}"
        for level, drops in credited.dropped.items()
        if drops
    ]
    return "; ".join(found) or "it is empty"


def _summary(credited: Credit, gap: Gap) -> dict[str, Any]:
    return {
        "groups": dict(credited.groups),
        "rows": len(credited.advantages),
        "dropped": {level: dict(drops) for level, drops in credited.dropped.items()},
        "sampler_gap": gap.mean,
    }
