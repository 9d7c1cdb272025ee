"""The clipped policy objective per token, as the equations have it (spec §5.1, §5.5).

Not covered: how tokens are averaged; each level is normalised over its own global token count
by the update that calls this.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    ratio = torch.exp(logprobs - old_logprobs)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped)
    return torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
