"""Random models of every architecture the embedded engine serves, made by transformers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from tests.embedded.tiny_model import CONTEXT, EOS, VOCAB, write_tokenizer

SIZE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "initializer_range": 0.2,
}
_ORIGINAL = {"rope_theta": 1e4, "original_max_position_embeddings": 128}
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


def _rope(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "factor": 4.0, **_ORIGINAL, **parameters}}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, one head of keys": ("Llama", {"num_key_value_heads": 1, "head_dim": 32}),
    "llama, no grouping": ("Llama", {"num_key_value_heads": 4}),
    "llama, rope linear": ("Llama", _rope("linear")),
    "llama, rope dynamic": ("Llama", _rope("dynamic")),
    "llama, rope llama3": ("Llama", _rope("llama3", **_LLAMA3)),
    "llama, rope yarn": ("Llama", _rope("yarn")),
    "llama, rope yarn, not truncated": ("Llama", _rope("yarn", truncate=False, beta_fast=16)),
    "llama, large vocabulary": ("Llama", {"vocab_size": 9000}),
    "qwen2": ("Qwen2", {}),
    "qwen2, tied, yarn": ("Qwen2", {"tie_word_embeddings": True, **_rope("yarn")}),
    "qwen2, tied, large vocabulary": ("Qwen2", {"vocab_size": 9000, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "qwen3, tied": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3, biases": ("Qwen3", {"head_dim": 32, "attention_bias": True}),
}
"""An architecture of transformers, and what its configuration says besides `SIZE`."""


def random_model(case: str, seed: int = 0) -> Any:
    """Biases and norms are random too: transformers begins them at zero and one."""
    architecture, fields = CASES[case]
    config = getattr(transformers, f"{architecture}Config")(**SIZE | fields)
    torch.manual_seed(seed)
    model = getattr(transformers, f"{architecture}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def write_random_model(folder: Path, case: str, seed: int = 0, **saving: Any) -> Any:
    """The model, as saved into `folder` beside the tiny tokenizer."""
    model = random_model(case, seed)
    model.save_pretrained(folder, **saving)
    write_tokenizer(folder)
    return model
