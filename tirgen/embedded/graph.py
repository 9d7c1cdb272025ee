"""A decoder (Llama, Qwen2, Qwen3) written as an OpenVINO graph, without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tirgen.embedded.architecture import ModelShape
from tirgen.embedded.runtime import ov
from tirgen.embedded.weights import Weights, read_weights
from tirgen.engine.engine_config import Precision

op = ov.opset13
Node = Any
"""An OpenVINO graph node; the bindings are untyped."""


def write_ir(
    model_dir: Path,
    config: ModelShape,
    out_dir: Path,
    precision: Precision = Precision.FLOAT32,
) -> None:
    """Write `openvino_model.xml` and `.bin` for the model in `model_dir`.

    Raises `ModelUnsupported` when its weights are unreadable or do not fit `config`.
    """
    weights = read_weights(model_dir, config)
    graph = build(config, weights, quantised=precision is Precision.INT8)
    ov.save_model(graph, str(out_dir / "openvino_model.xml"), compress_to_fp16=False)


def build(config: ModelShape, weights: Weights, *, quantised: bool = False) -> Any:
    """The stateful decoder: token ids [batch, time] to logits [batch, time, vocab], both in the
    order of `ModelShape.graph_ids`.

    Parameters and state follow what OpenVINO GenAI expects of a decoder (`input_ids`,
    `attention_mask`, `position_ids`, `beam_idx`, one key and one value state a layer), so that its
    continuous batching can replace the attention by the paged kind. With `quantised` the matrices
    have 8 bits.
    """
    inputs = Inputs.declare()
    matrix = _eight_bits if quantised else _constant
    order = -1 if config.reversed_ids else 1
    embedding = matrix(weights["model.embed_tokens.weight"][::order])
    decoder = Decoder(config, weights, matrix, inputs, Rotary.at(inputs.positions, config))
    hidden = op.gather(embedding, op.convert(inputs.ids, "i32"), _ints(0))
    for layer in range(config.layers):
        hidden = decoder.block(layer, hidden)
    hidden = decoder.rms_norm(hidden, "model.norm")
    head = embedding if config.tied else matrix(weights["lm_head.weight"][::order])
    logits = op.result(op.matmul(hidden, head, False, True), name="logits")
    logits.output(0).set_names({"logits"})
    return ov.Model([logits], decoder.states, inputs.parameters(), config.model_type)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The graph's parameters, and the values that every layer needs from them."""

    ids: Node  # [batch, time]
    attention: Node  # [batch, past + time]
    positions: Node  # [batch, time]
    beam: Node  # [batch]
    batch: Node  # [1]
    mask: Node  # [batch, 1, time, past + time]

    @classmethod
    def declare(cls) -> Inputs:
        ids, attention, positions = (
            _parameter(name, [-1, -1], ov.Type.i64)
            for name in ("input_ids", "attention_mask", "position_ids")
        )
        beam = _parameter("beam_idx", [-1], ov.Type.i32)
        shape = op.shape_of(ids)
        batch, time = (op.gather(shape, _ints(axis), _ints(0)) for axis in (0, 1))
        return cls(ids, attention, positions, beam, batch, _causal_mask(attention, time))

    def parameters(self) -> list[Node]:
        return [self.ids, self.attention, self.positions, self.beam]


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embedding: cosines and sines [batch, 1, time, head_dim]."""

    cos: Node
    sin: Node
    half: int

    @classmethod
    def at(cls, positions: Node, config: ModelShape) -> Rotary:
        frequencies, scale = config.rope.frequencies(config.head_dim)
        column = op.unsqueeze(op.convert(positions, "f32"), _ints(-1))
        angles = op.matmul(column, _constant(frequencies[None]), False, False)
        both = op.unsqueeze(op.concat([angles, angles], -1), _ints(1))
        cos, sin = op.cos(both), op.sin(both)
        if scale != 1:
            cos, sin = op.multiply(cos, _floats(scale)), op.multiply(sin, _floats(scale))
        return cls(cos, sin, config.head_dim // 2)

    def __call__(self, x: Node) -> Node:
        first = op.slice(x, _ints(0), _ints(self.half), _ints(1), _ints(3))
        second = op.slice(x, _ints(self.half), _ints(2 * self.half), _ints(1), _ints(3))
        turned = op.concat([op.negative(second), first], -1)
        return op.add(op.multiply(x, self.cos), op.multiply(turned, self.sin))


@dataclass(slots=True)
class Decoder:
    """Writes layers; their keys and values between calls are collected in `states`."""

    config: ModelShape
    weights: Weights
    matrix: Any
    """Makes a node from an array."""
    inputs: Inputs
    rotary: Rotary
    states: list[Node] = field(default_factory=list)

    def block(self, layer: int, hidden: Node) -> Node:
        """Attention, then the gated MLP, each on a residual branch."""
        prefix = f"model.layers.{layer}"
        x = self.rms_norm(hidden, f"{prefix}.input_layernorm")
        hidden = op.add(hidden, self._attention(layer, x))
        x = self.rms_norm(hidden, f"{prefix}.post_attention_layernorm")
        gate = op.swish(self._linear(x, f"{prefix}.mlp.gate_proj"))
        gated = op.multiply(gate, self._linear(x, f"{prefix}.mlp.up_proj"))
        return op.add(hidden, self._linear(gated, f"{prefix}.mlp.down_proj"))

    def rms_norm(self, x: Node, name: str) -> Node:
        mean_square = op.reduce_mean(op.power(x, _floats(2.0)), _ints(-1), True)
        eps = _floats(self.config.rms_eps)
        inverse = op.divide(_floats(1.0), op.sqrt(op.add(mean_square, eps)))
        return op.multiply(op.multiply(x, inverse), _constant(self.weights[f"{name}.weight"]))

    def _attention(self, layer: int, x: Node) -> Node:
        config, prefix = self.config, f"model.layers.{layer}.self_attn"
        query = self.rotary(self._heads(x, prefix, "q", config.heads))
        key = self.rotary(self._heads(x, prefix, "k", config.kv_heads))
        value = self._heads(x, prefix, "v", config.kv_heads)
        keys, values = (
            self._repeat(
                self._remember(f"past_key_values.{layer}.{name}present.{layer}.{name}", new)
            )
            for name, new in (("key", key), ("value", value))
        )
        attended = op.scaled_dot_product_attention(
            query, keys, values, self.inputs.mask, _floats(config.head_dim**-0.5), causal=False
        )
        flat = _ints(0, 0, config.heads * config.head_dim)
        return self._linear(op.reshape(_swap(attended), flat, True), f"{prefix}.o_proj")

    def _heads(self, x: Node, prefix: str, name: str, heads: int) -> Node:
        """[batch, time, hidden] to [batch, heads, time, head_dim], normalised if `qk_norm`."""
        shape = _ints(0, 0, heads, self.config.head_dim)
        projected = op.reshape(self._linear(x, f"{prefix}.{name}_proj"), shape, True)
        if self.config.qk_norm and name != "v":
            projected = self.rms_norm(projected, f"{prefix}.{name}_norm")
        return _swap(projected)

    def _linear(self, x: Node, name: str) -> Node:
        product = op.matmul(x, self.matrix(self.weights[f"{name}.weight"]), False, True)
        bias = self.weights.get(f"{name}.bias")
        return product if bias is None else op.add(product, _constant(bias))

    def _remember(self, name: str, current: Node) -> Node:
        """Append to a key or value state [batch, kv_heads, past, head_dim]; returns all of it."""
        heads, dim = self.config.kv_heads, self.config.head_dim
        info = ov.op.util.VariableInfo()
        info.data_shape = ov.PartialShape([-1, heads, -1, dim])
        info.data_type = ov.Type.f32
        info.variable_id = name
        variable = ov.op.util.Variable(info)
        empty_shape = op.concat([self.inputs.batch, _ints(heads, 0, dim)], 0)
        empty = op.broadcast(_floats(0.0), empty_shape)
        past = op.gather(op.read_value(empty, variable), self.inputs.beam, _ints(0))
        whole = op.concat([past, current], 2)
        self.states.append(op.assign(whole, variable))
        return whole

    def _repeat(self, x: Node) -> Node:
        """Grouped-query attention: each key-value head serves heads / kv_heads query heads."""
        heads, kv_heads = self.config.heads, self.config.kv_heads
        if heads == kv_heads:
            return x
        shape = op.shape_of(x)
        outer, inner = (op.gather(shape, _ints(*axes), _ints(0)) for axes in ((0, 1), (2, 3)))
        target = op.concat([outer, _ints(heads // kv_heads), inner], 0)
        wide = op.broadcast(op.unsqueeze(x, _ints(2)), target, "BIDIRECTIONAL")
        return op.reshape(wide, _ints(0, heads, -1, self.config.head_dim), True)


def _causal_mask(attention: Node, time: Node) -> Node:
    """Additive mask [batch, 1, time, past + time]; paged attention replaces it."""
    total = op.gather(op.shape_of(attention), _ints(1), _ints(0))
    columns = op.unsqueeze(_range(total), _ints(0))
    past = op.subtract(total, time)
    rows = op.unsqueeze(op.add(_range(time), past), _ints(1))
    real = op.unsqueeze(op.greater(attention, _ints(0)), _ints(1, 2))
    visible = op.logical_and(op.less_equal(columns, rows), real)
    return op.select(visible, _floats(0.0), _floats(-3.0e38))


def _swap(x: Node) -> Node:
    """Axes 1 and 2: [batch, time, heads, dim] to [batch, heads, time, dim] and back."""
    return op.transpose(x, _ints(0, 2, 1, 3))


def _range(length: Node) -> Node:
    zero, one = (op.constant(np.int64(value)) for value in (0, 1))
    return op.range(zero, op.squeeze(length, _ints(0)), one, "i64")


def _parameter(name: str, shape: list[int], dtype: Any) -> Node:
    parameter = op.parameter(shape, dtype, name=name)
    parameter.output(0).set_names({name})
    return parameter


def _eight_bits(values: NDArray[np.float32]) -> Node:
    """A matrix as int8 with one scale per row, in a form that the plug-in keeps compressed."""
    scales = np.maximum(np.abs(values).max(-1, keepdims=True), 1e-30) / np.float32(127)
    rounded = np.rint(values / scales).astype(np.int8)
    return op.multiply(op.convert(op.constant(rounded), "f32"), _constant(scales))


def _constant(values: NDArray[np.float32]) -> Node:
    """Shares the array's memory."""
    return op.constant(np.ascontiguousarray(values, np.float32), shared_memory=True)


def _ints(*values: int) -> Node:
    return op.constant(np.array(values, np.int64))


def _floats(value: float) -> Node:
    return op.constant(np.float32(value))
