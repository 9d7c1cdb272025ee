"""The terms of the policy objective per token (method E4, E11).

Every function takes and returns one value per policy token. `trainer.hierarchical` averages tokens
and adds the levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_LOG_RATIO = 20.0
"""Largest logarithm of a ratio. All clips are far below it, where the gradient is already 0; beyond
88 a float32 overflows, and infinity times 0 is NaN."""


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float = 3.0,
) -> Tensor:
    """Loss of each token, same shape as the three inputs.

    rho = exp(logp - logp_old)
    m   = max(-A rho, -A clip(rho, 1 - clip_low, 1 + clip_high))
    l   = min(m, -dual_clip A) where A < 0, else m
    """
    ratio = probability_ratio(logprobs, old_logprobs)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped)
    return torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)


def probability_ratio(logprobs: Tensor, others: Tensor) -> Tensor:
    """pi / pi_other, finite for any two policies."""
    return torch.exp((logprobs - others).clamp(max=LARGEST_LOG_RATIO))


def importance_weight(
    old_logprobs: Tensor, sampler_logprobs: Tensor, cap: float, tolerance: float = 0.0
) -> Tensor:
    """min(pi_old / pi_sampler, cap), a correction for the different rounding of the engine.

    It has no gradient. It is exactly 1 where the logarithms differ by at most `tolerance`, so that
    differences caused by an engine's batching do not change the weights.
    """
    gap = (old_logprobs - sampler_logprobs).detach()
    return torch.where(gap.abs() <= tolerance, 0.0, gap).exp().clamp(max=cap)


def kl_estimate(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = log pi_ref - log pi: never negative, and its mean over tokens drawn
    from pi is KL(pi || pi_ref). Beyond the largest ratio it continues as its tangent, so that the
    gradient stays finite."""
    difference = reference - logprobs
    bounded = difference.clamp(max=LARGEST_LOG_RATIO)
    return torch.exp(bounded) * (1 + difference - bounded) - difference - 1
