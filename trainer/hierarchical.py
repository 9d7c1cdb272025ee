"""The hierarchical objective: L = L_trajectory + L_step (eq. 10), minimised (method A2, D11).

    L = sum_i w_i sum_t c_it loss_it  -  alpha sum_{i: A_i > 0} v_i sum_t log pi(s_it)

where t runs over policy tokens only, loss_it is the surrogate and c_it the importance correction of
`trainer.loss`. With lambda_l = 1 for trajectories and `step_weight` for steps, N_l tokens, S_l
sequences and N+_l tokens with a positive advantage at level l (method A4),

    token_mean            w_i = lambda_l / (N_1 + lambda N_2)
    seq_mean_token_mean   w_i = lambda_l / ((S_1 + lambda S_2) |s_i|)
    both                  v_i = lambda_l / (N+_1 + lambda N+_2)

So lambda is the ratio of a step token's weight to a trajectory token's (of sequences' weights in
the second form), whatever their numbers. ``step_weight = equal_levels`` instead gives each level a
mean of its own, as the paper's equation reads: w_i = 1 / N_l or 1 / (S_l |s_i|), v_i = 1 / N+_l. A
step token then weighs as much as N_1 / N_2 trajectory tokens.

Counts are those of the whole mini-batch of an update, independent of how it is divided into
micro-batches and processes. A level without samples contributes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from storage.records import Level
from trainer.loss import (
    LARGEST_LOG_RATIO,
    importance_ratio,
    importance_weight,
    kl_estimate,
    policy_loss,
    surrogate_ratio,
)
from trainer.samples import Rollout
from trainer.settings import Aggregation, LossConfig, Surrogate


class Weights(NamedTuple):
    """The factors of one sample in the sums above."""

    policy: float
    """w_i."""
    nll: float
    """alpha v_i where A_i > 0, else 0."""


def weights(update: Sequence[Rollout], config: LossConfig) -> list[Weights]:
    """The factors of every sample of an update, from all of its samples on all processes."""
    tokens, sequences, positive = Counter[Level](), Counter[Level](), Counter[Level]()
    for sample in update:
        tokens[sample.level] += sample.learned_count
        sequences[sample.level] += 1
        positive[sample.level] += sample.learned_count * (sample.advantage > 0)

    def one_of(counts: Counter[Level], level: Level) -> float:
        """The weight of each of the things counted at this level; they add up to 1."""
        if config.step_weight == "equal_levels":
            return 1 / counts[level]
        lambdas = {Level.TRAJECTORY: 1.0, Level.STEP: config.step_weight}
        return lambdas[level] / sum(lambdas[each] * count for each, count in counts.items())

    def factors(sample: Rollout) -> Weights:
        level = sample.level
        if config.aggregation is Aggregation.SEQ_MEAN_TOKEN_MEAN:
            policy = one_of(sequences, level) / sample.learned_count
        else:
            policy = one_of(tokens, level)
        nll = config.nll * one_of(positive, level) if sample.advantage > 0 else 0.0
        return Weights(policy, nll)

    return [factors(sample) for sample in update]


class Tokens(NamedTuple):
    """Values of each policy token of a micro-batch, known before the update; all of length n."""

    advantages: Tensor
    policy_weights: Tensor
    nll_weights: Tensor
    steps: Tensor
    """bool: the token belongs to the step level."""
    sequences: Tensor
    """int64: the number of the token's sequence in the micro-batch, from 0 and never falling."""
    sampler_logprobs: Tensor
    old_logprobs: Tensor
    """Computed by the trainer with the policy at the beginning of the round."""
    entropies: Tensor
    """Of the same policy, in nats."""
    reference_logprobs: Tensor | None = None


def hierarchical_loss(logprobs: Tensor, tokens: Tokens, config: LossConfig) -> Tensor:
    """This micro-batch's share of L, a scalar: the shares of all micro-batches add up to L."""
    old, sequences = tokens.old_logprobs, tokens.sequences
    policy = policy_loss(logprobs, old, tokens.advantages, sequences, config)
    corrected = policy * importance_weight(old, tokens.sampler_logprobs, sequences, config)
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

    `ratio` is the surrogate's; `kl` estimates KL(pi_old || pi) of the update so far; `mismatch` is
    |log pi_old - log pi_sampler|; `truncated_fraction` is of corrections above their cap.
    """
    now, old, sampler = logprobs.detach().double(), tokens.old_logprobs, tokens.sampler_logprobs
    log_ratio = (now - old).clamp(max=LARGEST_LOG_RATIO)
    ratio = surrogate_ratio(now, old.double(), tokens.sequences, config.surrogate)
    good = tokens.advantages > 0
    low, high = config.clips
    dual_clips = config.surrogate is not Surrogate.CISPO
    columns = (
        torch.ones_like(ratio),
        good,
        ratio,
        ~good & (ratio < 1 - low),
        good & (ratio > 1 + high),
        ~good & (ratio > config.dual_clip) & dual_clips,
        log_ratio.exp() - 1 - log_ratio,
        tokens.entropies,
        (old - sampler).abs(),
        importance_ratio(old, sampler, tokens.sequences, config) > config.importance_cap,
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
