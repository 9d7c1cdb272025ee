"""The engines of a job: embedded ones are started here, servers are connected to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from tirgen.embedded.local import embedded_server
from tirgen.embedded.models import model_folder, model_name, tokenizer_source
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.engine.connect import TokenServer, connect_chat, connect_tokens
from tirgen.engine.engine_config import EngineConfig, Precision
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool
from tirgen.engine.protocol import Engine
from tirgen.engine.servers import Servers


class PooledEngine(Engine, Protocol):
    """An engine whose servers can be looked at."""

    @property
    def pool(self) -> Pool[JsonClient]: ...


@asynccontextmanager
async def open_engine(config: EngineConfig) -> AsyncIterator[PooledEngine]:
    """The engine, probed. Raises `EngineMisconfigured` when it cannot serve."""
    async with open_engines(config) as engines:
        yield engines[0]


@asynccontextmanager
async def open_engines(*configs: EngineConfig) -> AsyncIterator[tuple[PooledEngine, ...]]:
    """One engine per configuration, in order; roles with the same embedded model share one server.

    Raises `EngineMisconfigured`.
    """
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(Servers())
        started: dict[_Embedded, TokenServer] = {}
        engines: list[PooledEngine] = []
        for config in configs:
            if config.kind == "chat":
                engines.append(await stack.enter_async_context(connect_chat(config, servers)))
                continue
            if config.kind == "embedded":
                wanted = _Embedded(model_folder(config.model), config.precision, config.threads)
                if wanted not in started:
                    started[wanted] = await _start(wanted, stack)
                server = started[wanted]
            else:
                tokenizer = str(tokenizer_source(config))
                server = TokenServer(config.base_urls, str(config.model), tokenizer)
            engines.append(await stack.enter_async_context(connect_tokens(config, server, servers)))
        yield tuple(engines)


class _Embedded(NamedTuple):
    """The settings by which two embedded engines differ."""

    folder: Path
    precision: Precision
    threads: int


async def _start(wanted: _Embedded, stack: AsyncExitStack) -> TokenServer:
    settings = ServingSettings(precision=wanted.precision, threads=wanted.threads)
    server = embedded_server(wanted.folder, settings=settings)
    base_url = await stack.enter_async_context(server)
    return TokenServer((base_url,), model_name(wanted.folder), str(wanted.folder))
