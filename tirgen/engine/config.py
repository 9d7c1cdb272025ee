"""Which engine to speak to, and opening it: probed at entry, closed at exit."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, JsonValue, field_validator, model_validator

from storage.numbered import MANIFEST
from tirgen.embedded.names import PACKAGED, SERVED, is_pocket, model_name
from tirgen.embedded.settings import Precision, ServingSettings
from tirgen.engine.chat import ChatEngine, ChatOptions
from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.http import JsonClient
from tirgen.engine.limiter import Limiter
from tirgen.engine.probe import find_model
from tirgen.engine.protocol import Engine
from tirgen.engine.renderer import HfRenderer
from tirgen.engine.retry import RetryPolicy
from tirgen.engine.tokens import TokenEngine
from tirgen.settings import NameOrFolder, ServerUrl, Settings, Variable

_SECRET_NAME = re.compile("auth|key|token|secret|cookie|passw|sig", re.IGNORECASE)
"""Names of headers and parts of a query that carry credentials."""


class EngineConfig(Settings):
    """One language model: where it is, what it is called, how hard it may be asked."""

    kind: Literal["pocket", "tokens", "chat"] = "pocket"
    """``pocket`` starts the embedded engine; ``tokens`` is a server with token ids (vLLM); ``chat``
    is a hosted chat endpoint: data generation only, no token ids."""
    base_url: ServerUrl | None = None
    """Up to and with ``/v1``, e.g. ``http://localhost:8000/v1``; not for ``pocket``."""
    model: NameOrFolder | None = None
    """The name the server lists; for ``pocket`` a model's folder, or one of the packaged models
    ``base`` and ``thinking``: by default the one made for the mode."""
    precision: Precision = Precision.FLOAT32
    """What the embedded engine computes in: ``float32``, ``bfloat16`` or ``int8``."""
    threads: int = Field(1, ge=1)
    """Compute threads of the embedded engine."""
    tokenizer: NameOrFolder | None = None
    """Directory or Hugging Face id of tokenizer and chat template, for ``tokens``; by default
    `model`, or the packaged one for a model that is called ``pocket``."""
    template_variables: dict[str, JsonValue] = Field(default_factory=dict)
    """Handed to the chat template, for ``tokens``, e.g. ``{enable_thinking = false}``."""
    api_key_env: Variable | None = None
    """Name of the environment variable that holds the key, never the key itself."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers of every request, e.g. ``{HTTP-Referer = "https://example.com"}``; nothing
    secret."""
    header_env: dict[str, Variable] = Field(default_factory=dict)
    """Headers whose values are secret: the name of each and that of the environment variable that
    holds it, e.g. ``{api-key = "AZURE_OPENAI_KEY"}``."""
    query: dict[str, str] = Field(default_factory=dict)
    """Query of every request, e.g. ``{api-version = "2026-01-01"}``; nothing secret."""
    query_env: dict[str, Variable] = Field(default_factory=dict)
    """Parts of the query that are secret, as in `header_env`, e.g. ``{api-key = "MY_KEY"}``."""
    omit: tuple[Literal["top_k", "seed", "stream_options", "top_p", "temperature"], ...] = ()
    """Fields that are never sent, for ``chat``. Those that the endpoint refuses are left out
    without being named here; every row's `engine` says which."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of every request, for ``chat``, e.g. ``{reasoning_effort = "low"}``."""
    thinking_tokens: int = Field(0, ge=0)
    """Room to think, for ``chat`` models that think before they answer: added to the token limit
    of every request."""
    concurrency: int = Field(64, ge=1, le=4096)
    """Requests in flight at once."""
    timeout_seconds: float = Field(600, gt=0)
    """For one try of one request."""
    max_tries: int = Field(10, ge=1)
    """How often a request is tried that the server took and failed at (HTTP 500, an answer that
    broke off)."""
    patience_minutes: float = Field(20, gt=0)
    """How long a request waits for a server that is out of reach, loads its model or is at its
    rate limit, before its trajectory is given up."""

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
        if self.kind == "pocket" and self.base_url:
            raise ValueError("base_url is for kind = tokens or chat; the pocket is started here")
        if self.kind != "pocket" and not (self.base_url and self.model):
            raise ValueError(f"kind = {self.kind} needs base_url and model")
        return self

    @property
    def priced_as(self) -> str:
        """The model's name in rows and price lists."""
        if self.kind == "pocket":
            return model_name(_pocket_directory(self.model))
        return str(self.model)

    @property
    def tokenizer_source(self) -> str | None:
        """Where tokenizer and chat template come from: a directory or a hub id; None for ``chat``.

        A server's model that bears the name of a packaged one has its tokenizer (`tirgen
        serve`); the probe refuses the server if it writes otherwise.
        """
        if self.kind == "chat":
            return None
        if self.kind == "pocket":
            return str(_pocket_directory(self.model))
        model = str(self.model)
        return self.tokenizer or str(SERVED.get(model, model))

    @property
    def is_pocket(self) -> bool:
        """The model is the packaged one or descends from it, wherever it is served."""
        return self.tokenizer_source is not None and is_pocket(
            Path(self.tokenizer_source).expanduser()
        )

    def identity(self) -> dict[str, Any]:
        """What decides the text that comes back; neither the address nor the pace does."""
        if self.kind == "pocket":
            weights = _digest(_pocket_directory(self.model))
            made = {"kind": self.kind, "weights": weights, "precision": self.precision}
            variables = {"template_variables": self.template_variables}
            return {**made, **variables} if self.template_variables else made
        fields = {"kind", "model", "tokenizer", "template_variables"}
        if self.kind == "chat":
            fields |= {"omit", "extra", "thinking_tokens"}
        return self.model_dump(mode="json", include=fields)


def _pocket_directory(model: str | None) -> Path:
    return PACKAGED.get(model or "base") or Path(str(model))


def _digest(directory: Path) -> str:
    """Of everything in a model directory: retrained weights are another model.

    But for what a store says of it, which tells when it was published.
    """
    digest = hashlib.sha256()
    for file in sorted(p for p in directory.glob("*") if p.is_file() and p.name != MANIFEST):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


@asynccontextmanager
async def open_engine(config: EngineConfig) -> AsyncIterator[Engine]:
    """The engine, probed. Raises `EngineMisconfigured` when it cannot serve."""
    async with open_engines(config) as engines:
        yield engines[0]


@asynccontextmanager
async def open_engines(*configs: EngineConfig) -> AsyncIterator[tuple[Engine, ...]]:
    """One engine per configuration, in order; roles on the same embedded model share one server.

    Each has its own bound and retries. Raises `EngineMisconfigured`.
    """
    async with AsyncExitStack() as stack:
        started: dict[_Started, _Served] = {}
        engines: list[Engine] = []
        for config in configs:
            if config.kind == "chat":
                engines.append(await _connect_chat(config, stack))
                continue
            if config.kind == "pocket":
                wanted = _Started(_pocket_directory(config.model), config.precision, config.threads)
                if wanted not in started:
                    started[wanted] = await _start(wanted, stack)
                served = started[wanted]
            else:
                served = _served(config)
            engines.append(await _connect(config, served, stack))
        yield tuple(engines)


class _Started(NamedTuple):
    """What tells one embedded engine from another."""

    directory: Path
    precision: Precision
    threads: int


class _Served(NamedTuple):
    """A server of token ids, wherever it runs."""

    base_url: str
    model: str
    tokenizer: str


def _served(config: EngineConfig) -> _Served:
    return _Served(str(config.base_url), str(config.model), str(config.tokenizer_source))


async def _start(wanted: _Started, stack: AsyncExitStack) -> _Served:
    from tirgen.embedded.local import pocket_engine_server

    settings = ServingSettings(precision=wanted.precision, threads=wanted.threads)
    server = pocket_engine_server(wanted.directory, settings=settings)
    base_url = await stack.enter_async_context(server)
    return _Served(base_url, model_name(wanted.directory), str(wanted.directory))


async def _connect(config: EngineConfig, served: _Served, stack: AsyncExitStack) -> TokenEngine:
    client = await _client(config, served.base_url, stack)
    await find_model(client, served.model)  # a wrong address is told before a missing tokenizer
    renderer = await asyncio.to_thread(HfRenderer.load, served.tokenizer, config.template_variables)
    return await TokenEngine.connect(client, _limiter(config), served.model, renderer)


async def _connect_chat(config: EngineConfig, stack: AsyncExitStack) -> ChatEngine:
    client = await _client(config, str(config.base_url), stack)
    options = ChatOptions(
        omit=frozenset(config.omit),
        extra=config.extra,
        thinking_tokens=config.thinking_tokens,
    )
    return await ChatEngine.connect(client, _limiter(config), str(config.model), options)


async def _client(config: EngineConfig, base_url: str, stack: AsyncExitStack) -> JsonClient:
    client = JsonClient(
        base_url,
        api_key=api_key(config.api_key_env, base_url),
        connections=config.concurrency,
        headers=config.headers,
        secret_headers=_values(config.header_env, base_url),
        query=config.query,
        secret_query=_values(config.query_env, base_url),
    )
    return await stack.enter_async_context(client)


def _values(variables: Mapping[str, str], base_url: str) -> dict[str, str]:
    return {name: str(api_key(variable, base_url)) for name, variable in variables.items()}


def _limiter(config: EngineConfig) -> Limiter:
    policy = RetryPolicy(
        max_tries=config.max_tries,
        try_seconds=config.timeout_seconds,
        total_seconds=60 * config.patience_minutes,
    )
    return Limiter(config.concurrency, policy)


def api_key(variable: str | None, base_url: str | None) -> str | None:
    """The key of a server, from the environment variable that holds it; None where none does.

    Raises `EngineMisconfigured` when the variable is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineMisconfigured(
            f"The environment variable {variable} is not set; put the key of {base_url} into it."
        )
    return key
