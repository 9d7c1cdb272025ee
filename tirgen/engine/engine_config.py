"""Which engine a role uses, as plain values; `connect` and `tirgen.jobs.engines` act on them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from tirgen.settings import NameOrFolder, ServerUrl, Settings, Variable

_SECRET_NAME = re.compile("auth|key|token|secret|cookie|passw|sig", re.IGNORECASE)
"""Names of headers and parts of a query that carry credentials."""


DEFAULT_MODEL = "pocket"
"""Of the embedded engine: the small model that ships with the package."""


def _default_model(kind: str = "embedded", **others: Any) -> str | None:
    return DEFAULT_MODEL if kind == "embedded" else None


class Precision(StrEnum):
    """Of weights and arithmetic; only float32 agrees with a trainer's log-probabilities."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    """Matrix products and cache in bfloat16; needs AMX or AVX512_BF16."""
    INT8 = "int8"
    """Weight matrices in 8 bits with one scale per row; the cache in float32."""


class EngineConfig(Settings):
    """One language model: where it runs, its name, and the limits on requests to it."""

    kind: Literal["embedded", "tokens", "chat"] = "embedded"
    """``embedded`` starts an engine on this machine; ``tokens`` is a server with token ids (vLLM);
    ``chat`` is a hosted chat endpoint without token ids, for data generation only."""
    base_urls: tuple[ServerUrl, ...] = ()
    """Addresses including ``/v1``, e.g. ``["http://gpu-1:8000/v1", "http://gpu-2:8000/v1"]``: one
    server, or replicas with the same model and settings; not for ``embedded``."""
    model: NameOrFolder | None = Field(default_factory=lambda given: _default_model(**given))
    """The name that the server lists. For ``embedded`` a model's folder, or a packaged model:
    ``pocket`` (the default) or ``pocket-thinking`` (the default in reasoning mode)."""
    precision: Precision = Precision.FLOAT32
    """For ``embedded``: ``float32``, ``bfloat16`` or ``int8``."""
    threads: int = Field(1, ge=1)
    """Compute threads, for ``embedded``."""
    tokenizer: NameOrFolder | None = None
    """Folder or Hugging Face id of the tokenizer and chat template, for ``tokens``. By default
    `model`, or the packaged tokenizer for a server's model with the name of a packaged one."""
    template_variables: dict[str, JsonValue] = Field(default_factory=dict)
    """Passed to the chat template, for ``embedded`` and ``tokens``, e.g.
    ``{enable_thinking = false}``."""
    api_key_env: Variable | None = None
    """Name of the environment variable that holds the key, never the key itself."""
    headers: dict[str, str] = Field(default_factory=dict)
    """More headers for every request, e.g. ``{HTTP-Referer = "https://example.com"}``; no
    secrets."""
    header_env: dict[str, Variable] = Field(default_factory=dict)
    """Headers with secret values: for each header the name of the environment variable that holds
    its value, e.g. ``{api-key = "AZURE_OPENAI_KEY"}``."""
    query: dict[str, str] = Field(default_factory=dict)
    """URL query of every request, e.g. ``{api-version = "2026-01-01"}``; no secrets."""
    query_env: dict[str, Variable] = Field(default_factory=dict)
    """Secret parts of the query, as in `header_env`, e.g. ``{api-key = "MY_KEY"}``."""
    omit: tuple[Literal["top_k", "seed", "stream_options", "top_p", "temperature"], ...] = ()
    """Fields that are never sent, for ``chat``. Fields that the endpoint refuses are left out
    automatically; every row's `engine` says which."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """More fields for every request, for ``chat``, e.g. ``{reasoning_effort = "low"}``."""
    thinking_tokens: int = Field(0, ge=0)
    """Added to the token limit of every request, for ``chat`` models that think before they
    answer."""
    concurrency: int = Field(256, ge=1, le=4096)
    """Most requests in flight at once on each server. How many there are follows the server's
    answers; roles that use the same server add up."""
    timeout_seconds: float = Field(600, gt=0)
    """Longest time for one try of one request."""
    max_tries: int = Field(10, ge=1)
    """Most tries of a request that the server accepted and then failed at (HTTP 500, an answer
    that broke off)."""
    patience_minutes: float = Field(20, gt=0)
    """How long a request waits for a server that cannot be reached, loads its model or is at its
    rate limit, from its first try on. Then the trajectory ends with an engine error."""

    @field_validator("headers", "query")
    @classmethod
    def _nothing_secret(cls, given: dict[str, str]) -> dict[str, str]:
        secret = [name for name in given if _SECRET_NAME.search(name)]
        if secret:
            raise ValueError(
                f"{', '.join(secret)} is a secret, and settings are stored with the data: name "
                "the environment variable that holds it in header_env or query_env"
            )
        return given

    @model_validator(mode="after")
    def _address_given(self) -> EngineConfig:
        if self.kind == "embedded" and self.base_urls:
            raise ValueError(
                "base_urls is for kind = tokens or chat; the embedded engine is started here"
            )
        if self.kind != "embedded" and not (self.base_urls and self.model):
            raise ValueError(f"kind = {self.kind} needs base_urls and model")
        if len(set(self.base_urls)) < len(self.base_urls):
            raise ValueError("base_urls names a server twice")
        return self

    @property
    def servers(self) -> int:
        """How many servers there are; the embedded engine is one."""
        return max(1, len(self.base_urls))

    def identity(self) -> dict[str, Any]:
        """The settings that decide the text that comes back: neither the address nor the pace.

        For ``embedded``, `tirgen.embedded.models.engine_identity` adds the model's weights.
        """
        fields = {"kind", "template_variables"}
        fields |= {"precision"} if self.kind == "embedded" else {"model", "tokenizer"}
        if self.kind == "chat":
            fields |= {"omit", "extra", "thinking_tokens"}
        return self.model_dump(mode="json", include=fields)


def engine_settings(
    role: str,
    addresses: list[str] | None,
    model: str | None,
    tokenizer: str | None = None,
) -> dict[str, Any]:
    """The settings of a role's engine by dotted name; what is None is not set.

    `addresses` are those of its servers, or the one word "embedded".
    """
    settings: dict[str, Any] = {f"{role}.model": model, f"{role}.tokenizer": tokenizer}
    if addresses and addresses != ["embedded"]:
        settings |= {f"{role}.kind": "tokens", f"{role}.base_urls": addresses}
    return settings
