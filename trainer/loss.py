"""The terms of the policy objective per token (method E4, E11), and their published variants.

Every function takes and returns one value per policy token. `trainer.hierarchical` averages tokens
and adds the levels. `sequences` numbers the sequence of each token, from 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.settings import Importance, LossConfig, Surrogate

LARGEST_LOG_RATIO = 20.0
"""Largest logarithm of a ratio. All clips are far below it, where the gradient is already 0; beyond
88 a float32 overflows, and infinity times 0 is NaN."""


def policy_loss(
    logprobs: Tensor, old: Tensor, advantages: Tensor, sequences: Tensor, config: LossConfig
) -> Tensor:
    """The surrogate of each token, minimised.

    clip   rho_t = pi(s_t) / pi_old(s_t)                                   clipped_loss(rho_t)
    gspo   rho_i = exp((1 / |s_i|) sum_t log pi(s_t) / pi_old(s_t))        clipped_loss(rho_i)
    cispo  - A min(rho_t, 1 + clip_high) log pi(s_t), the ratio without gradient

    clip: the paper and PPO (arXiv 1707.06347). gspo: arXiv 2507.18071. cispo: arXiv 2506.13585.
    """
    ratio = surrogate_ratio(logprobs, old, sequences, config.surrogate)
    low, high = config.clips
    if config.surrogate is Surrogate.CISPO:
        return -advantages * ratio.detach().clamp(max=1 + high) * logprobs
    return clipped_loss(ratio, advantages, low, high, config.dual_clip)


def surrogate_ratio(
    logprobs: Tensor, old: Tensor, sequences: Tensor, surrogate: Surrogate
) -> Tensor:
    """The ratio that the surrogate clips, for each token."""
    log_ratio = logprobs - old
    if surrogate is Surrogate.GSPO:
        log_ratio = sequence_means(log_ratio, sequences)
    return torch.exp(log_ratio.clamp(max=LARGEST_LOG_RATIO))


def clipped_loss(
    ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual_clip: float
) -> Tensor:
    """The loss of PPO with two clips and the dual clip.

    m   = max(-A rho, -A clip(rho, 1 - clip_low, 1 + clip_high))
    l   = min(m, -dual_clip A) where A < 0, else m
    """
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped)
    return torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)


def importance_weight(
    old: Tensor, sampler: Tensor, sequences: Tensor, config: LossConfig
) -> Tensor:
    """The correction c for the different rounding of the engine; it has no gradient.

    truncate         c_t = min(w_t, cap)                w_t = pi_old(s_t) / pi_sampler(s_t)
    reject_sequence  c_i = w_i if w_i <= cap, else 0    w_i = prod_t w_t
    """
    weight = importance_ratio(old, sampler, sequences, config)
    if config.importance is Importance.REJECT_SEQUENCE:
        return torch.where(weight <= config.importance_cap, weight, 0.0)
    return weight.clamp(max=config.importance_cap)


def importance_ratio(old: Tensor, sampler: Tensor, sequences: Tensor, config: LossConfig) -> Tensor:
    """pi_old / pi_sampler of each token, or of its sequence.

    A token's is exactly 1 where the logarithms differ by at most the tolerance, so that differences
    caused by an engine's batching do not change the weights.
    """
    gap = (old - sampler).detach()
    gap = torch.where(gap.abs() <= config.importance_tolerance, 0.0, gap)
    if config.importance is Importance.REJECT_SEQUENCE:
        gap = sequence_sums(gap, sequences)
    return gap.exp()


def sequence_sums(values: Tensor, sequences: Tensor) -> Tensor:
    """For each token, the sum of the values of its sequence."""
    count = int(sequences[-1]) + 1 if len(sequences) else 0
    return values.new_zeros(count).index_add(0, sequences, values)[sequences]


def sequence_means(values: Tensor, sequences: Tensor) -> Tensor:
    """For each token, the mean of the values of its sequence."""
    return sequence_sums(values, sequences) / sequence_sums(torch.ones_like(values), sequences)


def kl_estimate(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = log pi_ref - log pi: never negative, and its mean over tokens drawn
    from pi is KL(pi || pi_ref). Beyond the largest ratio it continues as its tangent, so that the
    gradient stays finite."""
    difference = reference - logprobs
    bounded = difference.clamp(max=LARGEST_LOG_RATIO)
    return torch.exp(bounded) * (1 + difference - bounded) - difference - 1
