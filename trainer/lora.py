"""Low-rank adapters: W + (alpha / rank) B A, with W frozen (Hu et al. 2021, arXiv 2106.09685).

A file of its own rather than peft, because policies are published with merged weights, and merging
is an operation on the gathered state, whether it was sharded or not.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

_DOWN, _UP, _BASE = "lora_down", "lora_up", "base.weight"


class LoraConfig(BaseModel):
    """Which layers are adapted, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    layers: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                               "down_proj")  # fmt: skip
    """Names of the linear layers within each block."""


class LoraLinear(nn.Module):  # type: ignore[misc]
    """A frozen linear layer with a trainable detour that begins at zero."""

    def __init__(self, base: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_down = nn.Parameter(torch.empty(config.rank, base.in_features))
        self.lora_up = nn.Parameter(torch.zeros(base.out_features, config.rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)
        self._scale = config.alpha / config.rank

    def forward(self, inputs: Tensor) -> Tensor:
        detour = inputs @ self.lora_down.T @ self.lora_up.T
        return self.base(inputs) + self._scale * detour


def adapt(policy: Any, config: LoraConfig, seed: int) -> None:
    """Freeze the policy and put adapters into it, the same ones for the same seed.

    Raises ValueError where no layer has one of the names.
    """
    policy.requires_grad_(False)
    found = [
        (parent, name, child)
        for parent in policy.modules()
        for name, child in parent.named_children()
        if name in config.layers and isinstance(child, nn.Linear)
    ]
    if not found:
        raise ValueError(f"no linear layer of the model is named one of {config.layers}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parent, name, child in found:
            setattr(parent, name, LoraLinear(child, config))


def merged(state: dict[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The state of the adapted policy as one of the policy itself, under its usual names."""
    found = {}
    for name, value in state.items():
        if name.endswith(_BASE):
            layer = name.removesuffix(_BASE)
            update = state[layer + _UP] @ state[layer + _DOWN]
            found[f"{layer}weight"] = value + config.alpha / config.rank * update
        elif not name.endswith((_DOWN, _UP)):
            found[name.replace(".base.bias", ".bias")] = value
    return found
