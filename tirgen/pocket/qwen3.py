"""A Qwen3 model on disk, in the Hugging Face layout: its shape and its weights, both checked.

Covers what the pocket is: dense Qwen3, one safetensors file, default rotary embedding, no biases.
Not covered: mixture of experts, sliding windows, rope scaling, sharded or quantised weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from tirgen.pocket.tensors import load_tensors

Weights = Mapping[str, NDArray[np.float32]]
"""Tensors by their Hugging Face names."""


class ModelUnsupported(ValueError):
    """The model directory is not one this graph can express."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3Config:
    """The numbers of `config.json` that shape the graph."""

    vocab_size: int
    hidden: int
    inner: int
    """Width of the gated MLP."""
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    """Longest prompt plus completion, in tokens."""
    rms_eps: float
    rope_theta: float
    tied: bool
    """The output head is the embedding matrix."""
    eos_token_ids: tuple[int, ...]
    """The first one ends a turn; the others stop generation too."""

    @classmethod
    def read(cls, model_dir: Path) -> Qwen3Config:
        """Raises `ModelUnsupported` for anything but a dense Qwen3."""
        try:
            raw = json.loads((model_dir / "config.json").read_text("utf-8"))
        except FileNotFoundError:
            raise ModelUnsupported(
                f"{model_dir} holds no config.json: give a directory in the Hugging Face layout"
            ) from None
        except ValueError as error:
            raise ModelUnsupported(f"{model_dir}/config.json is not JSON: {error}") from error
        if raw.get("model_type") != "qwen3" or raw.get("use_sliding_window"):
            raise ModelUnsupported(
                f"{model_dir} is a {raw.get('model_type')!r} model; the pocket engine runs dense "
                "Qwen3 only: serve others with vLLM"
            )
        rope = raw.get("rope_parameters") or {"rope_theta": raw.get("rope_theta")}
        if rope.get("rope_type", "default") != "default" or raw.get("attention_bias"):
            raise ModelUnsupported(f"{model_dir} scales its rotary embedding or has biases")
        try:
            eos = raw["eos_token_id"]
            return cls(
                vocab_size=raw["vocab_size"],
                hidden=raw["hidden_size"],
                inner=raw["intermediate_size"],
                layers=raw["num_hidden_layers"],
                heads=raw["num_attention_heads"],
                kv_heads=raw["num_key_value_heads"],
                head_dim=raw["head_dim"],
                context=raw["max_position_embeddings"],
                rms_eps=raw["rms_norm_eps"],
                rope_theta=rope["rope_theta"],
                tied=raw["tie_word_embeddings"],
                eos_token_ids=tuple(eos) if isinstance(eos, list) else (eos,),
            )
        except KeyError as error:
            raise ModelUnsupported(f"{model_dir}/config.json lacks {error}") from error

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights of such a model, by their Hugging Face names."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        block = {
            "input_layernorm": (self.hidden,),
            "post_attention_layernorm": (self.hidden,),
            "self_attn.q_proj": (wide, self.hidden),
            "self_attn.k_proj": (narrow, self.hidden),
            "self_attn.v_proj": (narrow, self.hidden),
            "self_attn.o_proj": (self.hidden, wide),
            "self_attn.q_norm": (self.head_dim,),
            "self_attn.k_norm": (self.head_dim,),
            "mlp.gate_proj": (self.inner, self.hidden),
            "mlp.up_proj": (self.inner, self.hidden),
            "mlp.down_proj": (self.hidden, self.inner),
        }
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden)
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            shapes |= {f"{prefix}.{name}.weight": shape for name, shape in block.items()}
        return shapes


def read_weights(model_dir: Path, config: Qwen3Config) -> Weights:
    """Exactly the tensors that belong to the configuration; a tied head may lie beside them.

    Raises `ModelUnsupported` when they are unreadable or others.
    """
    file = model_dir / "model.safetensors"
    try:
        weights: Weights = load_tensors(file)
    except (FileNotFoundError, SafetensorError) as error:
        raise ModelUnsupported(f"{file} is no readable safetensors file: {error}") from error
    needed = config.tensor_shapes()
    found = {name: weight.shape for name, weight in weights.items()}
    if config.tied:
        found.pop("lm_head.weight", None)
    for name in sorted(needed.keys() | found.keys()):
        if needed.get(name) != found.get(name):
            raise ModelUnsupported(
                f"{file} does not fit its config.json: {name} is {found.get(name, 'missing')}, "
                f"which should be {needed.get(name, 'missing')}"
            )
    return weights
