"""Connecting to an engine's server: probed when the context is entered, closed when it is left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from tirgen.engine.chat import ChatEngine, ChatOptions
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.http import JsonClient
from tirgen.engine.probe import find_model
from tirgen.engine.renderer import HfRenderer
from tirgen.engine.retry import Limiter, RetryPolicy
from tirgen.engine.tokens import TokenEngine


class TokenServer(NamedTuple):
    """A server of token ids, wherever it runs."""

    base_url: str
    model: str
    """The name that the server lists."""
    tokenizer: str
    """Folder or Hugging Face id."""


@asynccontextmanager
async def connect_tokens(config: EngineConfig, server: TokenServer) -> AsyncIterator[TokenEngine]:
    """An engine of kind ``tokens`` or ``embedded``.

    Raises `EngineMisconfigured` when the server cannot serve it.
    """
    async with _client(config, server.base_url) as client:
        await find_model(client, server.model)  # report a wrong address before a missing tokenizer
        variables = config.template_variables
        renderer = await asyncio.to_thread(HfRenderer.load, server.tokenizer, variables)
        yield await TokenEngine.connect(client, _limiter(config), server.model, renderer)


@asynccontextmanager
async def connect_chat(config: EngineConfig) -> AsyncIterator[ChatEngine]:
    """An engine of kind ``chat``. Raises `EngineMisconfigured` when the endpoint cannot serve."""
    options = ChatOptions(
        omit=frozenset(config.omit),
        extra=config.extra,
        thinking_tokens=config.thinking_tokens,
    )
    async with _client(config, str(config.base_url)) as client:
        yield await ChatEngine.connect(client, _limiter(config), str(config.model), options)


def api_key(variable: str | None, base_url: str) -> str | None:
    """The key of a server, from the environment variable that holds it; None without a variable.

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


def _client(config: EngineConfig, base_url: str) -> JsonClient:
    return JsonClient(
        base_url,
        api_key=api_key(config.api_key_env, base_url),
        connections=config.concurrency,
        headers=config.headers,
        secret_headers=_secrets(config.header_env, base_url),
        query=config.query,
        secret_query=_secrets(config.query_env, base_url),
    )


def _secrets(variables: Mapping[str, str], base_url: str) -> dict[str, str]:
    return {name: str(api_key(variable, base_url)) for name, variable in variables.items()}


def _limiter(config: EngineConfig) -> Limiter:
    policy = RetryPolicy(
        max_tries=config.max_tries,
        try_seconds=config.timeout_seconds,
        total_seconds=60 * config.patience_minutes,
    )
    return Limiter(config.concurrency, policy)
