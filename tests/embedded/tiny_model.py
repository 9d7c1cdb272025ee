"""A random Qwen3 model with a real byte-level tokenizer, for tests where weights do not matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
EOS = 2
VOCAB = 512
CONTEXT = 512
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": False,
    "attention_bias": False,
    "use_sliding_window": False,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "dtype": "float32",
}


def write_tiny_model(directory: Path, seed: int = 0, scale: float = 0.25) -> Path:
    """Write the model; `scale` sets how sharp its next-token distributions are."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    write_tokenizer(directory)
    save_file(_weights(np.random.default_rng(seed), scale), directory / "model.safetensors")
    return directory


def write_tokenizer(directory: Path) -> None:
    """Everything of a model's folder that is not the model."""
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Qwen2Tokenizer", "eos_token": SPECIAL[EOS]})
    )
    _tokenizer().save(str(directory / "tokenizer.json"))


def _tokenizer() -> Tokenizer:
    """Byte-level BPE: every byte is a token, so random text breaks characters apart."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [
        f"{a} plus {b} is {a + b}; naïve café {a * b} 数学 \n" for a in range(40) for b in range(40)
    ]
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def _weights(rng: np.random.Generator, scale: float) -> dict[str, NDArray[np.float32]]:
    hidden, inner, dim = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    wide, narrow = CONFIG["num_attention_heads"] * dim, CONFIG["num_key_value_heads"] * dim

    def matrix(*shape: int) -> NDArray[np.float32]:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    def norm(size: int) -> NDArray[np.float32]:
        return (1 + 0.1 * rng.standard_normal(size)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": matrix(VOCAB, hidden),
        "model.norm.weight": norm(hidden),
        "lm_head.weight": matrix(VOCAB, hidden),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        block = {
            "input_layernorm": norm(hidden),
            "post_attention_layernorm": norm(hidden),
            "self_attn.q_proj": matrix(wide, hidden),
            "self_attn.k_proj": matrix(narrow, hidden),
            "self_attn.v_proj": matrix(narrow, hidden),
            "self_attn.o_proj": matrix(hidden, wide),
            "self_attn.q_norm": norm(dim),
            "self_attn.k_norm": norm(dim),
            "mlp.gate_proj": matrix(inner, hidden),
            "mlp.up_proj": matrix(inner, hidden),
            "mlp.down_proj": matrix(hidden, inner),
        }
        weights |= {f"model.layers.{layer}.{name}.weight": value for name, value in block.items()}
    return weights
