"""Low-rank adapters: W + (alpha / rank) B A, with W frozen (Hu et al. 2021, arXiv 2106.09685).

peft is not used, because policies are published with merged weights, and here the gathered state is
merged, sharded or not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.settings import LoraConfig

_DOWN, _UP, _BASE = "lora_down", "lora_up", "base.weight"


class Unadaptable(ValueError):
    """The requested layers cannot get adapters."""


class LoraLinear(nn.Module):  # type: ignore[misc]
    """A frozen linear layer plus a trainable low-rank term that starts at zero."""

    def __init__(self, base: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_down = nn.Parameter(torch.empty(config.rank, base.in_features))
        self.lora_up = nn.Parameter(torch.zeros(base.out_features, config.rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)
        self._scale = config.alpha / config.rank

    def forward(self, inputs: Tensor) -> Tensor:
        update = inputs @ self.lora_down.T @ self.lora_up.T
        return self.base(inputs) + self._scale * update


def adapt(policy: Any, config: LoraConfig, seed: int) -> None:
    """Freeze the policy and add adapters, which the seed initialises.

    Raises Unadaptable if no layer has one of the names, or, without names, if the model has weights
    that are no linear layers (experts in one tensor).
    """
    policy.requires_grad_(False)
    found = [
        (parent, name, child)
        for parent in policy.base_model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear) and (not config.layers or name in config.layers)
    ]
    if not config.layers:
        _require_all_reached(policy.base_model)
    if missing := set(config.layers) - {name for _, name, _ in found}:
        raise Unadaptable(f"no linear layer of the model is named {', '.join(sorted(missing))}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parent, name, child in found:
            setattr(parent, name, LoraLinear(child, config))


def _require_all_reached(base: Any) -> None:
    fused = {name.rpartition(".")[2] for name, weight in base.named_parameters() if weight.ndim > 2}
    if fused:
        raise Unadaptable(
            f"the weights {', '.join(sorted(fused))} of {base.config.model_type} are no linear "
            "layers and cannot get adapters: train all weights (leave lora out), or name the "
            "layers to adapt in lora.layers"
        )


def merged(state: dict[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The state of the policy with its adapters merged, under the usual names."""
    found = {}
    for name, value in state.items():
        if name.endswith(_BASE):
            layer = name.removesuffix(_BASE)
            update = state[layer + _UP] @ state[layer + _DOWN]
            found[f"{layer}weight"] = value + config.alpha / config.rank * update
        elif not name.endswith((_DOWN, _UP)):
            found[name.replace(".base.bias", ".bias")] = value
    return found
