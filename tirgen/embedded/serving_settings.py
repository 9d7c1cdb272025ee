"""The settings with which the embedded engine serves a model."""

from __future__ import annotations

from pydantic import Field

from tirgen.engine.engine_config import Precision
from tirgen.settings import Settings


class ServingSettings(Settings):
    """The defaults suit models of up to some hundred million parameters."""

    precision: Precision = Precision.FLOAT32
    threads: int = Field(1, ge=1)
    """Compute threads; more of them lower latency and cost more CPU per token."""
    max_sequences: int = Field(128, ge=1)
    """Sequences generated at once; more wait for a slot."""
    context: int | None = Field(None, ge=1)
    """Longest prompt plus completion in tokens; by default the model's own limit."""
    cache_gib: float = Field(4.0, gt=0)
    """Most memory for keys and values, in GiB; less is taken where all sequences fit into less."""
