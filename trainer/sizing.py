"""How much memory and work a training needs, and how the model is held; imports no torch.

For P weights, T of them trained, on n processes, in bytes of each process:

    weights      4 P        float32 master weights              / n if sharded, 0 if offloaded
    gradients    4 T        float32                             / n if sharded, 0 if offloaded
    moments      8 T        AdamW's two, float32                / n if sharded, 0 if offloaded
    copies       2 P        bfloat16 weights of the products; sharded: of two layers, of the
                            embedding and of the head (a whole layer in float32 on the CPU)
    activations  kept for the backward pass: per token and layer 14 hidden + 4 inner values; if
                            computed again, one hidden vector per layer and all of one layer
    logits       20 bytes for each of 2,048 tokens and each word of the vocabulary

Activations and logits were fitted to measurements, and choose between alternatives that differ by
factors. Left out: fragmentation, communication buffers, and other programs on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trainer.settings import Sharding

USABLE = 0.85
"""Share of a device's memory that may be planned with."""
LOGIT_ROWS = 2048
"""Tokens that are projected to the vocabulary at once; limits the largest tensor."""
_GB = 1e9


class Memory(NamedTuple):
    """Bytes that one process needs, by what they are for."""

    weights: float
    gradients: float
    moments: float
    copies: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        return sum(self)

    def told(self) -> str:
        parts = (f"{name} {value / _GB:.1f}" for name, value in self._asdict().items())
        return f"{', '.join(parts)}: {self.total / _GB:.1f} GB"


class Size(NamedTuple):
    """A model and its micro-batches."""

    weights: int
    trained: int
    active: int
    """Weights that a token passes: less than all with experts."""
    layer_weights: int
    """Of the largest layer."""
    hidden: int
    inner: int
    """Width of the feed-forward layer that a token passes."""
    layers: int
    vocabulary: int
    batch_tokens: int
    half: bool
    """Matrix products are in bfloat16."""

    def memory(self, sharding: Sharding, again: bool, processes: int) -> Memory:
        """`again`: activations are computed again in the backward pass."""
        value = 2 if self.half else 4
        share = {Sharding.DDP: 1.0, Sharding.FSDP: 1 / processes, Sharding.OFFLOAD: 0.0}[sharding]
        outer = 2 * self.vocabulary * self.hidden
        gathered = value * float(2 * self.layer_weights + outer)
        copies = gathered if sharding is not Sharding.DDP else 2.0 * self.weights * self.half
        layer = float(self.batch_tokens * value * (14 * self.hidden + 4 * self.inner))
        kept = float(self.batch_tokens * value * self.hidden * self.layers)
        return Memory(
            weights=4.0 * self.weights * share,
            gradients=4.0 * self.trained * share,
            moments=8.0 * self.trained * share,
            copies=copies,
            activations=kept + layer if again else layer * self.layers,
            logits=20.0 * min(LOGIT_ROWS, self.batch_tokens) * self.vocabulary,
        )

    def flops(self, document_tokens: float) -> float:
        """Floating-point operations of a token, forward and backward: 6 for each weight of a
        product, and 6 times hidden for each of the tokens that it attends to, per layer."""
        products = self.active - self.vocabulary * self.hidden  # the embedding is a look-up
        return 6.0 * products + 6.0 * self.layers * self.hidden * document_tokens


class Holding(NamedTuple):
    """How a model is held."""

    sharding: Sharding
    gradient_checkpointing: bool
    memory: Memory
    fits: bool
    reason: str


def choose(
    size: Size,
    memory: float,
    processes: int,
    sharding: Sharding | None = None,
    gradient_checkpointing: bool | None = None,
) -> Holding:
    """The fastest way that fits into `memory` bytes; arguments that are given are kept.

    Whole models come first, then shares of them, then shares in the host's memory; each keeps its
    activations if they fit.
    """
    several = [Sharding.DDP, Sharding.FSDP, Sharding.OFFLOAD]
    ways = [sharding] if sharding else several if processes > 1 else [Sharding.DDP]
    again = [False, True] if gradient_checkpointing is None else [gradient_checkpointing]
    needs = {(way, a): size.memory(way, a, processes) for way in ways for a in again}
    fitting = [key for key, need in needs.items() if need.total <= memory]
    chosen = fitting[0] if fitting else list(needs)[-1]
    reason = _sentence(needs, chosen, memory, processes, 4.0 * size.weights + 12.0 * size.trained)
    return Holding(*chosen, needs[chosen], bool(fitting), reason)


_Way = tuple[Sharding, bool]


def _sentence(
    needs: Mapping[_Way, Memory], chosen: _Way, memory: float, processes: int, host: float
) -> str:
    held = "alone" if processes == 1 else f"under {chosen[0].value} on {processes} processes"
    again = "computed again in the backward pass" if chosen[1] else "kept"
    text = (
        f"trained {held}, activations {again}: {needs[chosen].told()} of the {memory / _GB:.1f} GB "
        "that a process may use"
    )
    if chosen[0] is Sharding.OFFLOAD:
        text += f", and {host / _GB:.1f} GB of the hosts' memory in all"
    if needs[chosen].total > memory:
        few = processes == 1 or chosen[0] is not Sharding.DDP
        advice = "more processes" if few else "sharding = fsdp"
        return (
            f"{text}; this is likely too much: use {advice}, a smaller packing.batch_tokens, or "
            "model.lora"
        )
    before = list(needs)[: list(needs).index(chosen)]
    passed = [f"{_named(way)} {needs[way].total / _GB:.1f} GB" for way in before]
    return f"{text}; too large: {', '.join(passed)}" if passed else text


def _named(way: _Way) -> str:
    return f"{way[0].value}, activations {'computed again' if way[1] else 'kept'}"


class UnknownShape(ValueError):
    """A model's configuration does not say how large it is."""


def size_from_config(config: Mapping[str, Any], batch_tokens: int, half: bool = True) -> Size:
    """The size of a model with gated feed-forward layers, from its ``config.json``.

    Exact for Llama, Mistral, Qwen2, Qwen3 and Qwen3-MoE; the head counts as untied, as it is
    trained. Raises UnknownShape.
    """
    config = config.get("text_config") or config
    try:
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads, vocabulary = int(config["num_attention_heads"]), int(config["vocab_size"])
        inner = int(config.get("moe_intermediate_size") or config["intermediate_size"])
    except KeyError as missing:
        kind = config.get("model_type")
        raise UnknownShape(f"the configuration of this {kind} model has no {missing}") from None
    values = int(config.get("num_key_value_heads") or heads)
    width = int(config.get("head_dim") or hidden // heads)
    kind = str(config.get("model_type"))
    attention = 2 * hidden * width * (heads + values)
    if config.get("attention_bias"):
        attention += width * (heads + 2 * values) + hidden
    elif kind == "qwen2":
        attention += width * (heads + 2 * values)
    if kind.startswith("qwen3"):
        attention += 2 * width  # norms of queries and keys
    experts, active = 1, 1
    router = 0
    if kind.endswith("_moe"):
        experts, active = int(config["num_experts"]), int(config["num_experts_per_tok"])
        router = hidden * experts
    layer = attention + 3 * hidden * inner * experts + router + 2 * hidden
    weights = layers * layer + hidden + 2 * vocabulary * hidden
    return Size(
        weights=weights,
        trained=weights,
        active=weights - layers * 3 * hidden * inner * (experts - active),
        layer_weights=layer,
        hidden=hidden,
        inner=inner * active,
        layers=layers,
        vocabulary=vocabulary,
        batch_tokens=batch_tokens,
        half=half,
    )
