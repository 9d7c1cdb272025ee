"""The oracle: checks that the engine sampled from the policy that the trainer has.

An engine that confirms new weights may still serve the old ones, an old head, or a prefix cache of
another policy. Then its log-probabilities differ from those that the trainer computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.distributed import World
from trainer.samples import Rollout


class SamplerMismatch(RuntimeError):
    """The engine did not sample from the policy that the trainer has."""


class Gap(NamedTuple):
    """The difference between the log-probabilities of engine and trainer."""

    mean: float
    """Mean of |difference| over the tokens of all processes, in nats."""
    tokens: int


def require_agreement(
    samples: Sequence[Rollout], logprobs: Tensor, policy: str, bound: float, world: World
) -> Gap:
    """Compare what the engine said of the samples' learned tokens with `logprobs`, the trainer's.

    The mean is judged, because single tokens may differ by rounding in bfloat16 alone.
    Raises SamplerMismatch, on every process, where it is above `bound`.
    """
    differences = torch.zeros(0)
    if samples:
        sampler = torch.cat([sample.sampler_logprobs for sample in samples])
        differences = logprobs.cpu() - sampler
    total, tokens = world.sum(
        torch.tensor([differences.abs().sum().item(), len(differences)])
    ).tolist()
    gap = Gap(total / max(1, tokens), int(tokens))
    # Written so that a mean that is no number does not pass.
    if not gap.mean <= bound:
        raise SamplerMismatch(_sentence(gap, samples, differences, policy, bound))
    return gap


def _sentence(
    gap: Gap, samples: Sequence[Rollout], differences: Tensor, policy: str, bound: float
) -> str:
    return (
        f"engine and trainer differ by {gap.mean:.3g} nats a token over {gap.tokens} tokens "
        f"(bound {bound:g}){_worst(samples, differences)}; the engine did not sample from "
        f"{policy}: it serves another version, a stale head or an old prefix cache, or it bends "
        "the distribution. Reload the policy, reset the prefix cache, and roll out again"
    )


def _worst(samples: Sequence[Rollout], differences: Tensor) -> str:
    """Where this process saw the largest difference."""
    if not len(differences):
        return ""
    place = int(differences.abs().nan_to_num(torch.inf).argmax())
    difference = differences[place].item()
    for sample in samples:
        if place < sample.learned_count:
            position = int(sample.learned.nonzero()[place])
            engine = sample.sampler_logprobs[place].item()
            return (
                f", most at token {position} of {sample.sample_id} "
                f"({engine:.3f} by the engine, {engine + difference:.3f} by the trainer)"
            )
        place -= sample.learned_count
    raise AssertionError("more log-probabilities than learned tokens")
