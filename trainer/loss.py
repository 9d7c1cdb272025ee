"""The terms of the policy objective per token, as the equations have them (method E4, E11).

Every function takes and returns one value per policy token. How tokens are averaged, and how the
levels add up, is in `trainer.hierarchical`.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_LOG_RATIO = 20.0
"""Ratios are cut off here. Every clip is reached far below it, where the gradient is 0 already;
beyond 88 a float32 overflows, and infinity times that 0 is no number."""


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
    """min(pi_old / pi_sampler, cap): engine and trainer round differently, and what was sampled
    by one is learned from by the other. No gradient flows through it.

    1 exactly where the logarithms are within `tolerance`, so that what an engine's batching does to
    their last digits does not reach the weights.
    """
    gap = (old_logprobs - sampler_logprobs).detach()
    return torch.where(gap.abs() <= tolerance, 0.0, gap).exp().clamp(max=cap)


def kl_estimate(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = log pi_ref - log pi: never negative, and its mean over tokens drawn
    from pi is KL(pi || pi_ref). Beyond the largest ratio it goes on along its tangent, so that its
    pull stays finite and keeps its direction."""
    difference = reference - logprobs
    bounded = difference.clamp(max=LARGEST_LOG_RATIO)
    return torch.exp(bounded) * (1 + difference - bounded) - difference - 1
