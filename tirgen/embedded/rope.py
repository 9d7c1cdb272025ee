"""Rotary position embeddings: the frequencies of each published context extension.

Follows transformers' `modeling_rope_utils`, also in float32, so that long positions agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Frequencies = NDArray[np.float32]
"""Radians per position, [head_dim / 2]."""


class RopeUnsupported(ValueError):
    """A context extension that is not supported."""


@dataclass(frozen=True, slots=True)
class Rope:
    """One model's rotary embedding, from its `config.json`."""

    kind: str
    theta: float
    context: int
    """`max_position_embeddings`; the parameters have the original context if it differs."""
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Rope:
        """From a `config.json` of any transformers version. Raises `RopeUnsupported`."""
        parameters = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
        kind = parameters.get("rope_type", parameters.get("type", "default"))
        if kind not in _SCALINGS:
            raise RopeUnsupported(
                f"its rotary embedding is of type {kind!r}; the embedded engine has "
                f"{', '.join(_SCALINGS)}: serve it with vLLM"
            )
        partial = parameters.get("partial_rotary_factor", config.get("partial_rotary_factor"))
        if partial not in (None, 1):
            raise RopeUnsupported("it rotates only a part of each head; serve it with vLLM")
        theta = parameters.get("rope_theta", config.get("rope_theta")) or 10_000.0
        for name in _NEEDED.get(kind, ()):
            if not isinstance(parameters.get(name), int | float):
                raise RopeUnsupported(f"its {kind} rotary embedding lacks the number {name!r}")
        return cls(kind, float(theta), config.get("max_position_embeddings") or 0, parameters)

    def frequencies(self, head_dim: int) -> tuple[Frequencies, float]:
        """The frequencies of a head, and the factor of cosines and sines."""
        exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
        plain = np.float32(1) / np.power(np.float32(self.theta), exponents)
        return _SCALINGS[self.kind](self, plain)

    @property
    def original_context(self) -> int:
        return int(self.parameters.get("original_max_position_embeddings") or self.context)


def _unscaled(rope: Rope, plain: Frequencies) -> tuple[Frequencies, float]:
    """Also for the dynamic kind, which changes nothing up to `max_position_embeddings`."""
    return plain, 1.0


def _linear(rope: Rope, plain: Frequencies) -> tuple[Frequencies, float]:
    return plain / np.float32(rope.parameters["factor"]), 1.0


def _llama3(rope: Rope, plain: Frequencies) -> tuple[Frequencies, float]:
    """Divide low frequencies by the factor, keep high ones, interpolate between them."""
    factor, low, high = (
        float(rope.parameters[name]) for name in ("factor", "low_freq_factor", "high_freq_factor")
    )
    wavelengths = 2 * math.pi / plain
    turns = rope.original_context / wavelengths
    kept = np.clip((turns - low) / (high - low), 0, 1).astype(np.float32)
    return ((1 - kept) * plain / np.float32(factor) + kept * plain).astype(np.float32), 1.0


def _yarn(rope: Rope, plain: Frequencies) -> tuple[Frequencies, float]:
    """Interpolate by dimension and scale attention (arXiv 2309.00071)."""
    given = rope.parameters
    factor = float(given["factor"])
    slow, fast = (
        _dimension_that_turns(turns, 2 * len(plain), rope)
        for turns in (float(given.get("beta_fast") or 32), float(given.get("beta_slow") or 1))
    )
    if given.get("truncate", True):
        slow, fast = math.floor(slow), math.ceil(fast)
    slow, fast = max(slow, 0), min(fast, 2 * len(plain) - 1)
    width = fast - slow or 0.001
    ramp = (np.arange(len(plain), dtype=np.float32) - np.float32(slow)) / np.float32(width)
    kept = 1 - np.clip(ramp, 0, 1)
    stretched = plain / np.float32(factor)
    return (stretched * (1 - kept) + plain * kept).astype(np.float32), _yarn_attention(rope, factor)


def _dimension_that_turns(turns: float, dim: int, rope: Rope) -> float:
    """The dimension that makes `turns` rotations within the original context."""
    ratio = rope.original_context / (turns * 2 * math.pi)
    return dim * math.log(ratio) / (2 * math.log(rope.theta))


def _yarn_attention(rope: Rope, factor: float) -> float:
    if rope.parameters.get("attention_factor") is not None:
        return float(rope.parameters["attention_factor"])

    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    above, below = rope.parameters.get("mscale"), rope.parameters.get("mscale_all_dim")
    return scale(above) / scale(below) if above and below else scale(1.0)


_SCALINGS: Final = {
    "default": _unscaled,
    "dynamic": _unscaled,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}
_NEEDED: Final = {
    "linear": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}
