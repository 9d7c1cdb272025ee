"""The shape of a decoder, read from the `config.json` of a Hugging Face folder and checked.

Supports dense Llama, Qwen2, Qwen2.5 and Qwen3. Not supported: mixture of experts, sliding windows,
quantised weights, activations other than SiLU.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from tirgen.embedded.rope import Rope, RopeUnsupported

TokenId = Annotated[int, Field(ge=0)]

_SMALL_VOCABULARY: Final = 8192
_QKV: Final = ("q_proj", "k_proj", "v_proj")
_MLP: Final = ("gate_proj", "up_proj", "down_proj")


class ModelUnsupported(ValueError):
    """The embedded engine cannot serve the model in this folder."""


class ModelShape(BaseModel):
    """The numbers that define the graph; some fields have shorter names than in the file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: str
    vocab_size: PositiveInt
    hidden: PositiveInt = Field(alias="hidden_size")
    inner: PositiveInt = Field(alias="intermediate_size")
    """Width of the gated MLP."""
    layers: PositiveInt = Field(alias="num_hidden_layers")
    heads: PositiveInt = Field(alias="num_attention_heads")
    kv_heads: PositiveInt = Field(alias="num_key_value_heads")
    head_dim: PositiveInt
    context: PositiveInt = Field(alias="max_position_embeddings")
    """Longest prompt plus completion, in tokens."""
    rms_eps: float = Field(1e-6, alias="rms_norm_eps", gt=0)
    rope: Rope
    tied: bool = Field(False, alias="tie_word_embeddings")
    """The output head is the embedding matrix."""
    biases: frozenset[str]
    """The projections with a bias, e.g. `q_proj`."""
    eos_token_ids: tuple[TokenId, ...] = Field(min_length=1)
    """The first one ends a turn; the others end a completion too."""

    @classmethod
    def read(cls, model_dir: Path) -> Self:
        """Raises `ModelUnsupported`, naming what is not supported."""
        raw = _json(model_dir / "config.json")
        if raw is None:
            raise ModelUnsupported(
                f"{model_dir} holds no config.json: give a folder in the Hugging Face layout"
            )
        generation = _json(model_dir / "generation_config.json") or {}
        eos = generation.get("eos_token_id", raw.get("eos_token_id"))
        raw["eos_token_ids"] = eos if isinstance(eos, list) else [eos]
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ModelUnsupported(f"{model_dir}/config.json: {_faults(error)}") from error

    @model_validator(mode="before")
    @classmethod
    def _as_transformers_reads_it(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Adds values that the architecture implies; refuses unsupported ones."""
        kind = raw.get("model_type")
        if kind not in _BIASES:
            raise ValueError(
                f"a {kind!r} model; the embedded engine runs {', '.join(_BIASES)}: serve others "
                "with vLLM"
            )
        _refuse_variants(raw)
        heads = raw.get("num_attention_heads")
        if raw.get("head_dim") is None:
            raw["head_dim"] = 128 if kind == "qwen3" else _quotient(raw.get("hidden_size"), heads)
        if raw.get("num_key_value_heads") is None:
            raw["num_key_value_heads"] = heads
        raw["biases"] = _BIASES[kind](raw)
        try:
            raw["rope"] = Rope.of(raw)
        except RopeUnsupported as error:
            raise ValueError(str(error)) from error
        return raw

    @property
    def qk_norm(self) -> bool:
        """Queries and keys are normalised per head."""
        return self.model_type == "qwen3"

    @property
    def reversed_ids(self) -> bool:
        """The graph has the vocabulary in reverse order.

        OpenVINO GenAI sums the probabilities of all tokens one by one in float32, in the order of
        their ids. After a large one, thousands of small ones are lost, so that log-probabilities
        are too high, by 1.3e-4 on average for 49,152 tokens. Rare tokens have high ids: in reverse
        order they are added first, and the error is 8e-6. Small vocabularies have no such error.
        """
        return self.vocab_size > _SMALL_VOCABULARY

    def graph_ids(self, ids: Iterable[int]) -> list[int]:
        """Token ids in the graph's order; applied twice it gives the ids back."""
        return [self.vocab_size - 1 - id_ for id_ in ids] if self.reversed_ids else list(ids)

    @property
    def cached_values(self) -> int:
        """How many key and value numbers are cached per token."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight, by its Hugging Face name."""
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden)
        block = self._block_shapes()
        for layer in range(self.layers):
            shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
        return shapes

    def _block_shapes(self) -> dict[str, tuple[int, ...]]:
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        norms = {"input_layernorm": self.hidden, "post_attention_layernorm": self.hidden}
        if self.qk_norm:
            norms |= {"self_attn.q_norm": self.head_dim, "self_attn.k_norm": self.head_dim}
        shapes: dict[str, tuple[int, ...]] = {f"{n}.weight": (size,) for n, size in norms.items()}
        matrices = {
            "self_attn.q_proj": (wide, self.hidden),
            "self_attn.k_proj": (narrow, self.hidden),
            "self_attn.v_proj": (narrow, self.hidden),
            "self_attn.o_proj": (self.hidden, wide),
            "mlp.gate_proj": (self.inner, self.hidden),
            "mlp.up_proj": (self.inner, self.hidden),
            "mlp.down_proj": (self.hidden, self.inner),
        }
        for name, shape in matrices.items():
            shapes[f"{name}.weight"] = shape
            if name.rpartition(".")[2] in self.biases:
                shapes[f"{name}.bias"] = shape[:1]
        return shapes


def _llama_biases(raw: dict[str, Any]) -> tuple[str, ...]:
    return _qwen3_biases(raw) + (_MLP if raw.get("mlp_bias") else ())


def _qwen3_biases(raw: dict[str, Any]) -> tuple[str, ...]:
    return (*_QKV, "o_proj") if raw.get("attention_bias") else ()


_BIASES: Final = {
    "llama": _llama_biases,
    "qwen2": lambda raw: _QKV,
    "qwen3": _qwen3_biases,
}
"""The supported architectures, and which projections of each have a bias."""


def _refuse_variants(raw: dict[str, Any]) -> None:
    kinds = set(raw.get("layer_types") or ()) - {"full_attention"}
    if kinds or raw.get("use_sliding_window"):
        raise ValueError("some of its layers see a sliding window only; serve it with vLLM")
    if raw.get("hidden_act", "silu") != "silu":
        raise ValueError(f"its activation is {raw['hidden_act']}, not silu; serve it with vLLM")
    if raw.get("quantization_config"):
        method = raw["quantization_config"].get("quant_method", "some method")
        raise ValueError(
            f"its weights are quantised ({method}); give the unquantised folder, and "
            "`--precision int8` where memory is short"
        )


def _quotient(hidden: Any, heads: Any) -> Any:
    """None, which validation reports, if one is missing or not a number."""
    return hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads else None


def _json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ModelUnsupported(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnsupported(f"{file} holds no JSON object")
    return content


def _faults(error: ValidationError) -> str:
    faults = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(map(str, fault["loc"]))
        message = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{where}: {message}" if where else message)
    return "; ".join(faults)
