"""Connecting to an engine's servers: probed when the context is entered, closed when it is left."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from tirgen.engine.chat import ChatEngine, ChatOptions
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import EngineAbsent, EngineMisconfigured
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool, Replica, fit
from tirgen.engine.probe import find_model, probe_again, probe_all
from tirgen.engine.renderer import HfRenderer
from tirgen.engine.retry import RetryPolicy
from tirgen.engine.servers import Servers
from tirgen.engine.tokens import TokenEngine

LOGGER = logging.getLogger(__name__)


class TokenServer(NamedTuple):
    """Servers of token ids, all of one model, wherever they run."""

    base_urls: tuple[str, ...]
    model: str
    """The name that the servers list."""
    tokenizer: str
    """Folder or Hugging Face id."""


@asynccontextmanager
async def connect_tokens(
    config: EngineConfig, server: TokenServer, servers: Servers
) -> AsyncIterator[TokenEngine]:
    """An engine of kind ``tokens`` or ``embedded``; replicas that do not answer are tried later.

    Raises `EngineMisconfigured` when none answers, or when one that answers cannot serve the model.
    """
    async with _clients(config, server.base_urls) as clients:
        # A wrong address is reported before a missing tokenizer.
        await _find_on_any(clients, server.model)
        variables = config.template_variables
        renderer = await asyncio.to_thread(HfRenderer.load, server.tokenizer, variables)
        found, absent = await probe_all(clients, server.model, renderer)

        async def check(client: JsonClient) -> None:
            await probe_again(client, server.model, renderer, found)

        pool = _pool(config, clients, servers, check)
        for replica, error in zip(pool.replicas, absent, strict=True):
            if error is not None:
                LOGGER.warning("%s The other replicas are used until it answers.", error)
                replica.gate.failed(connection=True)
            servers.read(replica.client, replaceable=len(clients) > 1)
        yield TokenEngine(pool, server.model, renderer, found)


@asynccontextmanager
async def connect_chat(config: EngineConfig, servers: Servers) -> AsyncIterator[ChatEngine]:
    """An engine of kind ``chat``. Raises `EngineMisconfigured` when the endpoint cannot serve."""
    options = ChatOptions(
        omit=frozenset(config.omit),
        extra=config.extra,
        thinking_tokens=config.thinking_tokens,
    )
    async with _clients(config, config.base_urls) as clients:
        pool = _pool(config, clients, servers, fit)
        yield await ChatEngine.connect(pool, str(config.model), options)


async def _find_on_any(clients: Sequence[JsonClient], model: str) -> None:
    """Raises what `find_model` raises, if every server is absent or one has another model."""
    found = await asyncio.gather(
        *(find_model(client, model) for client in clients), return_exceptions=True
    )
    failures = [one for one in found if isinstance(one, BaseException)]
    wrong = [error for error in failures if not isinstance(error, EngineAbsent)]
    if wrong or len(failures) == len(clients):
        raise (wrong or failures)[0]


def _pool(
    config: EngineConfig,
    clients: Sequence[JsonClient],
    servers: Servers,
    check: Callable[[JsonClient], Awaitable[None]],
) -> Pool[JsonClient]:
    policy = RetryPolicy(
        max_tries=config.max_tries,
        try_seconds=config.timeout_seconds,
        total_seconds=60 * config.patience_minutes,
    )
    named = len(clients) > 1
    replicas = (
        Replica(
            client=client,
            gate=servers.gate(client.base_url, config.concurrency),
            name=client.base_url if named else "",
            check=check,
        )
        for client in clients
    )
    return Pool([*replicas], policy)


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


@asynccontextmanager
async def _clients(
    config: EngineConfig, base_urls: Sequence[str]
) -> AsyncIterator[tuple[JsonClient, ...]]:
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(_client(config, url)) for url in base_urls])


def _client(config: EngineConfig, base_url: str) -> JsonClient:
    return JsonClient(
        base_url,
        api_key=api_key(config.api_key_env, base_url),
        connections=2 * config.concurrency,
        headers=config.headers,
        secret_headers=_secrets(config.header_env, base_url),
        query=config.query,
        secret_query=_secrets(config.query_env, base_url),
    )


def _secrets(variables: Mapping[str, str], base_url: str) -> dict[str, str]:
    return {name: str(api_key(variable, base_url)) for name, variable in variables.items()}
