"""The hierarchical objective: L = L_trajectory + L_step (eq. 10), minimised.

Each level l is normalised over the whole mini-batch of an update, independent of how it is divided
into micro-batches and processes (method A2, D11):

    L_l = sum_i w_i sum_t c_it loss_it  -  alpha / N+_l  sum_{i: A_i > 0} sum_t log pi(s_it)
    c_it = min(pi_old / pi_sampler, cap), or 1 where the two agree within rounding

where t runs over policy tokens only, loss_it is the clipped loss of `trainer.loss`, N+_l counts
the policy tokens with a positive advantage (method A4), and w_i is

    token_mean            1 / N_l             every token of a level has the same weight
    seq_mean_token_mean   1 / (S_l |s_i|)     every sequence has the same weight (the paper)
    mixed_token_mean      1 / (N_1 + N_2)     one mean over both levels (the official code)

with N_l tokens and S_l sequences at level l. A level without samples contributes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from storage.records import Level
from trainer.loss import LARGEST_LOG_RATIO, clipped_policy_loss, importance_weight, kl_estimate
from trainer.samples import Rollout


class Aggregation(StrEnum):
    """How the tokens of an update are averaged."""

    TOKEN_MEAN = "token_mean"
    SEQ_MEAN_TOKEN_MEAN = "seq_mean_token_mean"
    MIXED_TOKEN_MEAN = "mixed_token_mean"


class LossConfig(BaseModel):
    """The constants of the objective."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.28, gt=0)
    dual_clip: float = Field(3.0, gt=1)
    """Largest loss of a token with a negative advantage, in units of that advantage."""
    nll: float = Field(0.01, ge=0)
    """alpha, the weight of the negative log-likelihood of samples better than their group."""
    importance_cap: float = Field(2.0, gt=0)
    """Largest correction between sampler and trainer probabilities."""
    importance_tolerance: float = Field(1e-3, ge=0)
    """Nats by which their logarithms may differ and still count as equal. An engine rounds
    differently in other batches, and a killed and resumed round must give the same result."""
    kl: float = Field(0.0, ge=0)
    """Weight of the divergence from the reference policy; 0 loads no reference."""
    aggregation: Aggregation = Aggregation.TOKEN_MEAN


class Weights(NamedTuple):
    """The factors of one sample in the sums above."""

    policy: float
    """w_i."""
    nll: float
    """alpha / N+_l where A_i > 0, else 0."""


def weights(update: Sequence[Rollout], config: LossConfig) -> list[Weights]:
    """The factors of every sample of an update, from all of its samples on all processes."""
    tokens, sequences, positive = Counter[Level](), Counter[Level](), Counter[Level]()
    for sample in update:
        tokens[sample.level] += sample.learned_count
        sequences[sample.level] += 1
        positive[sample.level] += sample.learned_count * (sample.advantage > 0)
    mixed = config.aggregation is Aggregation.MIXED_TOKEN_MEAN

    def over(counts: Counter[Level], level: Level) -> int:
        return counts.total() if mixed else counts[level]

    def factors(sample: Rollout) -> Weights:
        if config.aggregation is Aggregation.SEQ_MEAN_TOKEN_MEAN:
            policy = 1 / (sequences[sample.level] * sample.learned_count)
        else:
            policy = 1 / over(tokens, sample.level)
        nll = config.nll / over(positive, sample.level) if sample.advantage > 0 else 0.0
        return Weights(policy, nll)

    return [factors(sample) for sample in update]


class Tokens(NamedTuple):
    """Values of each policy token of a micro-batch, known before the update; all of length n."""

    advantages: Tensor
    policy_weights: Tensor
    nll_weights: Tensor
    steps: Tensor
    """bool: the token belongs to the step level."""
    sampler_logprobs: Tensor
    old_logprobs: Tensor
    """Computed by the trainer with the policy at the beginning of the round."""
    entropies: Tensor
    """Of the same policy, in nats."""
    reference_logprobs: Tensor | None = None


def hierarchical_loss(logprobs: Tensor, tokens: Tokens, config: LossConfig) -> Tensor:
    """This micro-batch's share of L, a scalar: the shares of all micro-batches add up to L."""
    policy = clipped_policy_loss(
        logprobs,
        tokens.old_logprobs,
        tokens.advantages,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        dual_clip=config.dual_clip,
    )
    corrected = policy * importance_weight(
        tokens.old_logprobs,
        tokens.sampler_logprobs,
        config.importance_cap,
        config.importance_tolerance,
    )
    loss = tokens.policy_weights @ corrected - tokens.nll_weights @ logprobs
    if tokens.reference_logprobs is not None:
        divergence = kl_estimate(logprobs, tokens.reference_logprobs)
        loss = loss + config.kl * (tokens.policy_weights @ divergence)
    return loss


STATISTICS = (
    "tokens", "positive_tokens", "ratio", "clip_low_fraction", "clip_high_fraction",
    "dual_clip_fraction", "kl", "entropy", "mismatch", "truncated_fraction",
)  # fmt: skip
"""The sums over tokens: two counts, then quantities whose mean is reported."""


def token_sums(logprobs: Tensor, tokens: Tokens, config: LossConfig) -> Tensor:
    """`STATISTICS` summed over the tokens of each level: float64, levels x statistics.

    `kl` estimates KL(pi_old || pi) of the update so far; `mismatch` is |log pi_old - log
    pi_sampler|.
    """
    log_ratio = (logprobs.detach() - tokens.old_logprobs).double()
    log_ratio = log_ratio.clamp(max=LARGEST_LOG_RATIO)
    ratio = log_ratio.exp()
    good = tokens.advantages > 0
    gap = tokens.old_logprobs - tokens.sampler_logprobs
    columns = (
        torch.ones_like(ratio),
        good,
        ratio,
        ~good & (ratio < 1 - config.clip_low),
        good & (ratio > 1 + config.clip_high),
        ~good & (ratio > config.dual_clip),
        ratio - 1 - log_ratio,
        tokens.entropies,
        gap.abs(),
        gap.exp() > config.importance_cap,
    )
    table = torch.stack([column.double() for column in columns], dim=1)
    return torch.stack([table[~tokens.steps].sum(0), table[tokens.steps].sum(0)])


def means(sums: Tensor) -> dict[Level, dict[str, float]]:
    """Counts and means per token, for each level that has tokens."""
    found = {}
    for level, row in zip((Level.TRAJECTORY, Level.STEP), sums.tolist(), strict=True):
        values = dict(zip(STATISTICS, row, strict=True))
        counts = {name: values.pop(name) for name in STATISTICS[:2]}
        if counts["tokens"]:
            averages = {name: value / counts["tokens"] for name, value in values.items()}
            found[level] = counts | averages
    return found
