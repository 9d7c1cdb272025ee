"""How the embedded engine serves a model, whichever it is."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from tirgen.settings import Settings


class Precision(StrEnum):
    """Of weights and arithmetic; float32 is what a trainer's log-probabilities agree with."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    """Products and cache in bfloat16; needs AMX or AVX512_BF16."""
    INT8 = "int8"
    """Weights of the matrices in 8 bits, a scale a row; the cache in float32."""


class ServingSettings(Settings):
    """Defaults suit the pocket and models of some hundred million parameters."""

    precision: Precision = Precision.FLOAT32
    threads: int = Field(1, ge=1)
    """Compute threads; more lower latency and cost CPU per token."""
    max_sequences: int = Field(128, ge=1)
    """Generated at once; more wait for a slot."""
    context: int | None = Field(None, ge=1)
    """Longest prompt plus completion in tokens, where less than the model's own."""
    cache_gib: float = Field(4.0, gt=0)
    """Memory for keys and values, at most; less is taken where all sequences fit into less."""
