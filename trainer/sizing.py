"""Decides how a model is held in memory, from its size, and explains the decision.

    state        4 P + 12 T     float32 weights; gradients and AdamW's two moments of the T trained
    activations  kept for the backward pass, per token and layer about 14 hidden + 4 inner values

These estimates choose between alternatives that differ by factors. They leave out fragmentation,
logits (which are computed in pieces), and other programs on the device.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch

from trainer.distributed import Sharding, World

USABLE = 0.85
"""Share of a device's memory that may be planned with."""
_GB = 1e9


class Holding(NamedTuple):
    """How a model is held."""

    sharding: Sharding
    gradient_checkpointing: bool
    reason: str


class Size(NamedTuple):
    """Bytes that one process needs for the whole model."""

    state: float
    activations: float
    recomputed: float
    """Activations if they are computed again in the backward pass."""


def size_of(policy: Any, batch_tokens: int, device: torch.device) -> Size:
    """The size of a model with micro-batches of `batch_tokens` tokens."""
    weights = sum(weight.numel() for weight in policy.parameters())
    trained = sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    shape = policy.config.get_text_config()
    value = 4 if device.type == "cpu" else 2
    inner = getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
    layer = batch_tokens * value * (14 * shape.hidden_size + 4 * inner)
    layers = shape.num_hidden_layers
    kept = batch_tokens * value * shape.hidden_size * layers
    return Size(4.0 * weights + 12.0 * trained, float(layer * layers), float(kept + layer))


def memory_of(world: World) -> float:
    """Bytes that one process may use."""
    if world.device.type == "cuda":
        return USABLE * float(torch.cuda.get_device_properties(world.device).total_memory)
    pages: float = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return USABLE * pages / world.size


def choose(
    size: Size,
    memory: float,
    processes: int,
    sharding: Sharding | None = None,
    gradient_checkpointing: bool | None = None,
) -> Holding:
    """The fastest way that fits; arguments that are given are kept."""
    chosen = sharding or _sharding(size, memory, processes)
    state = size.state / processes if chosen is Sharding.FSDP else size.state
    again = state + size.activations > memory
    if gradient_checkpointing is not None:
        again = gradient_checkpointing
    need = state + (size.recomputed if again else size.activations)
    return Holding(chosen, again, _sentence(size, memory, processes, chosen, again, need))


def _sharding(size: Size, memory: float, processes: int) -> Sharding:
    whole_fits = size.state + size.recomputed <= memory
    return Sharding.DDP if whole_fits or processes == 1 else Sharding.FSDP


def _sentence(
    size: Size, memory: float, processes: int, sharding: Sharding, again: bool, need: float
) -> str:
    whole = size.state + size.activations
    held = "alone" if processes == 1 else f"under {sharding.value} on {processes} processes"
    activations = "computed again in the backward pass" if again else "kept"
    text = (
        f"weights, gradients and moments take {size.state / _GB:.1f} GB, activations "
        f"{size.activations / _GB:.1f} GB, together {whole / _GB:.1f} of {memory / _GB:.1f} GB a "
        f"process may use: trained {held}, activations {activations}"
    )
    if need <= memory:
        return text
    advice = "more processes" if sharding is Sharding.FSDP or processes == 1 else "sharding = fsdp"
    return (
        f"{text}; {need / _GB:.1f} GB are likely too many: use {advice}, a smaller "
        "packing.batch_tokens, or model.lora"
    )
