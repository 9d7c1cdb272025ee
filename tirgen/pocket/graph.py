"""A Qwen3 model written as an OpenVINO graph, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tirgen.pocket.qwen3 import Qwen3Config, Weights, read_weights
from tirgen.pocket.runtime import ov

op = ov.opset13
Node = Any
"""An OpenVINO graph node; the bindings are untyped."""


def write_ir(model_dir: Path, out_dir: Path) -> None:
    """Write `openvino_model.xml` and `.bin` (float32) for the model in `model_dir`.

    Raises `ModelUnsupported`.
    """
    config = Qwen3Config.read(model_dir)
    graph = build(config, read_weights(model_dir, config))
    ov.save_model(graph, str(out_dir / "openvino_model.xml"), compress_to_fp16=False)


def build(config: Qwen3Config, weights: Weights) -> Any:
    """The stateful decoder: token ids [batch, time] to logits [batch, time, vocab].

    Parameters and state follow what OpenVINO GenAI expects of a decoder (`input_ids`,
    `attention_mask`, `position_ids`, `beam_idx`, one key and one value state a layer), so that its
    continuous batching can replace the attention by the paged kind.
    """
    inputs = Inputs.declare()
    embedding = _constant(weights["model.embed_tokens.weight"])
    hidden = op.gather(embedding, op.convert(inputs.ids, "i32"), _ints(0))
    rotary = Rotary.at(inputs.positions, config)
    mask = _causal_mask(inputs)
    states: list[Node] = []
    for layer in range(config.layers):
        hidden = _block(config, weights, layer, hidden, inputs, rotary, mask, states)
    hidden = _rms_norm(hidden, weights["model.norm.weight"], config.rms_eps)
    head = embedding if config.tied else _constant(weights["lm_head.weight"])
    logits = op.result(op.matmul(hidden, head, False, True), name="logits")
    logits.output(0).set_names({"logits"})
    return ov.Model([logits], states, inputs.parameters(), "qwen3")


@dataclass(frozen=True, slots=True)
class Inputs:
    """The graph's parameters, and the two sizes everything else is shaped by."""

    ids: Node  # [batch, time]
    attention: Node  # [batch, past + time]
    positions: Node  # [batch, time]
    beam: Node  # [batch]
    batch: Node  # [1]
    time: Node  # [1]

    @classmethod
    def declare(cls) -> Inputs:
        ids, attention, positions = (
            _parameter(name, [-1, -1], ov.Type.i64)
            for name in ("input_ids", "attention_mask", "position_ids")
        )
        beam = _parameter("beam_idx", [-1], ov.Type.i32)
        shape = op.shape_of(ids)
        batch, time = (op.gather(shape, _ints(axis), _ints(0)) for axis in (0, 1))
        return cls(ids, attention, positions, beam, batch, time)

    def parameters(self) -> list[Node]:
        return [self.ids, self.attention, self.positions, self.beam]


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embedding: cosines and sines [batch, 1, time, head_dim]."""

    cos: Node
    sin: Node
    half: int

    @classmethod
    def at(cls, positions: Node, config: Qwen3Config) -> Rotary:
        exponent = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
        frequencies = (1.0 / config.rope_theta**exponent).astype(np.float32)
        column = op.unsqueeze(op.convert(positions, "f32"), _ints(-1))
        angles = op.matmul(column, _constant(frequencies[None]), False, False)
        both = op.unsqueeze(op.concat([angles, angles], -1), _ints(1))
        return cls(op.cos(both), op.sin(both), config.head_dim // 2)

    def __call__(self, x: Node) -> Node:
        first = op.slice(x, _ints(0), _ints(self.half), _ints(1), _ints(3))
        second = op.slice(x, _ints(self.half), _ints(2 * self.half), _ints(1), _ints(3))
        turned = op.concat([op.negative(second), first], -1)
        return op.add(op.multiply(x, self.cos), op.multiply(turned, self.sin))


def _block(
    config: Qwen3Config,
    weights: Weights,
    layer: int,
    hidden: Node,
    inputs: Inputs,
    rotary: Rotary,
    mask: Node,
    states: list[Node],
) -> Node:
    """One decoder layer: attention, then the gated MLP, each on a residual branch."""

    def weight(name: str) -> NDArray[np.float32]:
        return weights[f"model.layers.{layer}.{name}.weight"]

    def project(x: Node, name: str, heads: int) -> Node:
        """[batch, time, hidden] to [batch, time, heads, head_dim]."""
        shape = _ints(0, 0, heads, config.head_dim)
        return op.reshape(_linear(x, weight(f"self_attn.{name}_proj")), shape, True)

    def normed(x: Node, name: str) -> Node:
        return _rms_norm(x, weight(f"self_attn.{name}_norm"), config.rms_eps)

    x = _rms_norm(hidden, weight("input_layernorm"), config.rms_eps)
    query = rotary(_heads_first(normed(project(x, "q", config.heads), "q")))
    key = rotary(_heads_first(normed(project(x, "k", config.kv_heads), "k")))
    value = _heads_first(project(x, "v", config.kv_heads))
    keys = _remember(f"past_key_values.{layer}.keypresent.{layer}.key", key, config, inputs, states)
    values = _remember(
        f"past_key_values.{layer}.valuepresent.{layer}.value", value, config, inputs, states
    )
    scale = _floats(config.head_dim**-0.5)
    attended = op.scaled_dot_product_attention(
        query, _repeat(keys, config), _repeat(values, config), mask, scale, causal=False
    )
    flat = op.reshape(_heads_first(attended), _ints(0, 0, config.heads * config.head_dim), True)
    hidden = op.add(hidden, _linear(flat, weight("self_attn.o_proj")))

    x = _rms_norm(hidden, weight("post_attention_layernorm"), config.rms_eps)
    gate = op.swish(_linear(x, weight("mlp.gate_proj")))
    gated = op.multiply(gate, _linear(x, weight("mlp.up_proj")))
    return op.add(hidden, _linear(gated, weight("mlp.down_proj")))


def _remember(
    name: str, current: Node, config: Qwen3Config, inputs: Inputs, states: list[Node]
) -> Node:
    """Append to a key or value state [batch, kv_heads, past, head_dim] and return the whole."""
    info = ov.op.util.VariableInfo()
    info.data_shape = ov.PartialShape([-1, config.kv_heads, -1, config.head_dim])
    info.data_type = ov.Type.f32
    info.variable_id = name
    variable = ov.op.util.Variable(info)
    empty_shape = op.concat([inputs.batch, _ints(config.kv_heads, 0, config.head_dim)], 0)
    empty = op.broadcast(_floats(0.0), empty_shape)
    past = op.gather(op.read_value(empty, variable), inputs.beam, _ints(0))
    whole = op.concat([past, current], 2)
    states.append(op.assign(whole, variable))
    return whole


def _repeat(x: Node, config: Qwen3Config) -> Node:
    """Grouped-query attention: each key-value head serves heads / kv_heads query heads."""
    if config.heads == config.kv_heads:
        return x
    shape = op.shape_of(x)
    batch_and_heads, time_and_dim = (
        op.gather(shape, _ints(*at), _ints(0)) for at in ((0, 1), (2, 3))
    )
    target = op.concat([batch_and_heads, _ints(config.heads // config.kv_heads), time_and_dim], 0)
    wide = op.broadcast(op.unsqueeze(x, _ints(2)), target, "BIDIRECTIONAL")
    return op.reshape(wide, _ints(0, config.heads, -1, config.head_dim), True)


def _causal_mask(inputs: Inputs) -> Node:
    """Additive mask [batch, 1, time, past + time]; paged attention brings its own instead."""
    total = op.gather(op.shape_of(inputs.attention), _ints(1), _ints(0))
    columns = op.unsqueeze(_range(total), _ints(0))
    past = op.subtract(total, inputs.time)
    rows = op.unsqueeze(op.add(_range(inputs.time), past), _ints(1))
    real = op.unsqueeze(op.greater(inputs.attention, _ints(0)), _ints(1, 2))
    visible = op.logical_and(op.less_equal(columns, rows), real)
    return op.select(visible, _floats(0.0), _floats(-3.0e38))


def _rms_norm(x: Node, weight: NDArray[np.float32], eps: float) -> Node:
    mean_square = op.reduce_mean(op.power(x, _floats(2.0)), _ints(-1), True)
    inverse = op.divide(_floats(1.0), op.sqrt(op.add(mean_square, _floats(eps))))
    return op.multiply(op.multiply(x, inverse), _constant(weight))


def _linear(x: Node, weight: NDArray[np.float32]) -> Node:
    return op.matmul(x, _constant(weight), False, True)


def _heads_first(x: Node) -> Node:
    """Swap axes 1 and 2: [batch, time, heads, dim] to [batch, heads, time, dim] and back."""
    return op.transpose(x, _ints(0, 2, 1, 3))


def _range(length: Node) -> Node:
    zero, one = (op.constant(np.int64(value)) for value in (0, 1))
    return op.range(zero, op.squeeze(length, _ints(0)), one, "i64")


def _parameter(name: str, shape: list[int], dtype: Any) -> Node:
    parameter = op.parameter(shape, dtype, name=name)
    parameter.output(0).set_names({name})
    return parameter


def _constant(values: NDArray[Any]) -> Node:
    return op.constant(values.astype(np.float32))


def _ints(*values: int) -> Node:
    return op.constant(np.array(values, np.int64))


def _floats(value: float) -> Node:
    return op.constant(np.float32(value))
