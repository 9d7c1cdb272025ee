"""Which engine to speak to, and opening it: probed at entry, closed at exit."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from storage.numbered import MANIFEST
from tirgen.engine.chat import ChatEngine
from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.http import JsonClient
from tirgen.engine.lane import Lane
from tirgen.engine.probe import find_model
from tirgen.engine.protocol import Engine
from tirgen.engine.renderer import HfRenderer
from tirgen.engine.retry import RetryPolicy
from tirgen.engine.tokens import TokenEngine
from tirgen.pocket.names import MODEL_NAME, PACKAGED, THINKING_DIR
from tirgen.settings import Settings


class EngineConfig(Settings):
    """One language model: where it is, what it is called, how hard it may be asked."""

    kind: Literal["pocket", "tokens", "chat"] = "pocket"
    """``pocket`` starts the embedded model; ``tokens`` is a server with token ids (vLLM); ``chat``
    is a hosted chat endpoint: data generation only, no token ids."""
    base_url: str | None = None
    """Up to and with ``/v1``, e.g. ``http://localhost:8000/v1``; not for ``pocket``."""
    model: str | None = None
    """The name the server lists; for ``pocket`` a directory, or one of the packaged models ``base``
    and ``thinking``: by default the one made for the mode."""
    tokenizer: str | None = None
    """Directory or Hugging Face id of tokenizer and chat template, for ``tokens``; by default
    `model`."""
    template_variables: dict[str, JsonValue] = Field(default_factory=dict)
    """Handed to the chat template, for ``tokens``, e.g. ``{enable_thinking = false}``."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key, never the key itself."""
    concurrency: int = Field(64, ge=1, le=4096)
    """Requests in flight at once."""
    timeout_seconds: float = Field(600, gt=0)
    """For one try of one request."""
    max_tries: int = Field(10, ge=1)
    """How often a request that failed in passing (429, 5xx, lost connection) is tried."""

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL like http://localhost:8000/v1")
        if parts.username or parts.password:
            raise ValueError("credentials do not belong in a URL; use api_key_env")
        return url.rstrip("/")

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
        return _pocket_name(self.model) if self.kind == "pocket" else str(self.model)

    def identity(self) -> dict[str, Any]:
        """What decides the text that comes back; neither the address nor the pace does."""
        if self.kind == "pocket":
            weights = {"kind": self.kind, "weights": _digest(_pocket_directory(self.model))}
            variables = {"template_variables": self.template_variables}
            return {**weights, **variables} if self.template_variables else weights
        fields = {"kind", "model", "tokenizer", "template_variables"}
        return self.model_dump(mode="json", include=fields)


def _pocket_directory(model: str | None) -> Path:
    return PACKAGED.get(model or "base") or Path(str(model))


def _pocket_name(model: str | None) -> str:
    return f"{MODEL_NAME}-thinking" if _pocket_directory(model) == THINKING_DIR else MODEL_NAME


def _digest(directory: Path) -> str:
    """Of everything in a model directory: retrained weights are another model.

    But for what a store says of it, which tells when it was published.
    """
    digest = hashlib.sha256()
    for file in sorted(p for p in directory.glob("*") if p.is_file() and p.name != MANIFEST):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@asynccontextmanager
async def open_engine(config: EngineConfig) -> AsyncIterator[Engine]:
    """The engine, probed. Raises `EngineMisconfigured` when it cannot serve."""
    async with open_engines(config) as engines:
        yield engines[0]


@asynccontextmanager
async def open_engines(*configs: EngineConfig) -> AsyncIterator[tuple[Engine, ...]]:
    """One engine per configuration, in order; roles on the same pocket model share one server.

    Each has its own bound and retries. Raises `EngineMisconfigured`.
    """
    async with AsyncExitStack() as stack:
        pockets: dict[Path, _Served] = {}
        engines: list[Engine] = []
        for config in configs:
            if config.kind == "chat":
                engines.append(await _connect_chat(config, stack))
                continue
            if config.kind == "pocket":
                directory = _pocket_directory(config.model)
                if directory not in pockets:
                    pockets[directory] = await _start_pocket(config, directory, stack)
                served = pockets[directory]
            else:
                served = _served(config)
            engines.append(await _connect(config, served, stack))
        yield tuple(engines)


class _Served(NamedTuple):
    """A server of token ids, wherever it runs."""

    base_url: str
    model: str
    tokenizer: str


def _served(config: EngineConfig) -> _Served:
    model = str(config.model)
    return _Served(str(config.base_url), model, config.tokenizer or model)


async def _start_pocket(config: EngineConfig, directory: Path, stack: AsyncExitStack) -> _Served:
    from tirgen.pocket.local import pocket_engine_server

    if not (directory / "model.safetensors").is_file():
        raise EngineMisconfigured(
            f"{directory} holds no pocket model (model.safetensors); make one with "
            "`tirgen pocket train`, or leave `model` out for the packaged one."
        )
    name = config.priced_as
    base_url = await stack.enter_async_context(pocket_engine_server(directory, model=name))
    return _Served(base_url, name, str(directory))


async def _connect(config: EngineConfig, served: _Served, stack: AsyncExitStack) -> TokenEngine:
    key = api_key(config.api_key_env, served.base_url)
    client = JsonClient(served.base_url, api_key=key, connections=config.concurrency)
    await stack.enter_async_context(client)
    await find_model(client, served.model)  # a wrong address is told before a missing tokenizer
    renderer = await asyncio.to_thread(HfRenderer.load, served.tokenizer, config.template_variables)
    return await TokenEngine.connect(client, _lane(config), served.model, renderer)


def _lane(config: EngineConfig) -> Lane:
    policy = RetryPolicy(max_tries=config.max_tries, try_seconds=config.timeout_seconds)
    return Lane(config.concurrency, policy)


async def _connect_chat(config: EngineConfig, stack: AsyncExitStack) -> ChatEngine:
    from openai import AsyncOpenAI  # a second of imports that only hosted endpoints need

    client = AsyncOpenAI(
        base_url=config.base_url,
        api_key=api_key(config.api_key_env, config.base_url) or "no-key-configured",
        max_retries=0,
        timeout=config.timeout_seconds,
    )
    await stack.enter_async_context(client)
    return await ChatEngine.connect(client, _lane(config), str(config.model))


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
