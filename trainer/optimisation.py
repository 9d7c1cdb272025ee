"""Optimiser steps over any number of micro-batches and processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainer.distributed import World, without_reduction
from trainer.model import score
from trainer.packing import Batch
from trainer.settings import OptimizerConfig


class Share(NamedTuple):
    """A micro-batch and the function of its share of the loss."""

    batch: Batch[Any]
    loss: Callable[[Tensor], Tensor]
    """Takes the log-probabilities of the batch's learned tokens, returns a scalar."""


class NotFinite(ArithmeticError):
    """The gradient is infinite or NaN; the step was not taken."""


class Optimizer:
    """The trained weights and AdamW's moments."""

    def __init__(self, scorer: nn.Module, config: OptimizerConfig, world: World) -> None:
        self.scorer = scorer
        self.world = world
        self._config = config
        trained = [weight for weight in scorer.parameters() if weight.requires_grad]
        self.adam = torch.optim.AdamW(trained, fused=True)

    def step(self, number: int, shares: Sequence[Share]) -> tuple[float, float]:
        """Take step `number` on the sum of all shares on all processes.

        Returns that sum and the norm of its gradient before clipping. Raises NotFinite.
        """
        total = torch.zeros((), dtype=torch.float64, device=self.world.device)
        for position, share in enumerate(shares, start=1):
            with without_reduction(self.scorer, skip=position < len(shares)):
                logprobs = score(self.scorer, share.batch, self.world.device).logprobs
                loss = share.loss(logprobs)
                # DDP and FSDP average over processes, but the shares must be added.
                (loss * self.world.size).backward()
            total += loss.detach()
        norm = self._clip()
        if not math.isfinite(norm):
            raise NotFinite(
                f"the gradient of step {number} has norm {norm}; look for broken "
                "log-probabilities in its rows, or lower the learning rate"
            )
        self._configure(number)
        self.adam.step()
        self.adam.zero_grad()
        return self.world.sum(total).item(), norm

    def _configure(self, number: int) -> None:
        """Set at every step, because loading a checkpoint also loads the settings of its run."""
        for group in self.adam.param_groups:
            group["lr"] = self._config.rate(number)
            group["betas"] = self._config.betas
            group["weight_decay"] = self._config.weight_decay

    def _clip(self) -> float:
        norm = nn.utils.clip_grad_norm_(self.scorer.parameters(), self._config.clip)
        # Under FSDP the norm is itself sharded.
        whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return float(whole)
