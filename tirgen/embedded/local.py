"""The embedded engine as a child process: started, waited for, ended."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from tirgen.embedded.models import API_KEY_VARIABLE, MODEL_DIR, model_name
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.engine.errors import EngineMisconfigured
from tirgen.process import Child

__all__ = ["MODEL_DIR", "embedded_server"]

_START_SECONDS = 60.0
"""Starting takes one second on a free machine."""


@asynccontextmanager
async def embedded_server(
    model_dir: Path = MODEL_DIR,
    *,
    model: str | None = None,
    port: int = 0,
    settings: ServingSettings | None = None,
) -> AsyncIterator[str]:
    """Run a server during the block; yields its base URL, including `/v1`.

    `model` is the name in `/v1/models`, by default `model_name` of the folder. The server ends with
    the block, and with this process however that ends. Raises `EngineMisconfigured`, with the
    server's last output, when it does not start.
    """
    server = Child(
        _command(model_dir, model, port, settings),
        stdout="pipe",
        env={k: v for k, v in os.environ.items() if k != API_KEY_VARIABLE},
    )
    try:
        yield await _base_url(server)
    finally:
        await asyncio.to_thread(server.end)


def _command(
    model_dir: Path, model: str | None, port: int, settings: ServingSettings | None
) -> list[str]:
    command = [sys.executable, "-m", "tirgen.embedded.server", str(model_dir)]
    command += ["--die-with-parent", "--model", model or model_name(model_dir)]
    command += ["--port", str(port)]
    return [*command, "--settings", (settings or ServingSettings()).model_dump_json()]


async def _base_url(server: Child) -> str:
    """The line that the server prints when it listens."""
    async with aclosing(server.lines(server.stdout)) as lines:
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await anext(lines, None)
        except TimeoutError:
            raise EngineMisconfigured(
                f"The embedded engine did not start within {_START_SECONDS:.0f} s: {server.said()}"
            ) from None
    if line is None:
        raise EngineMisconfigured(f"The embedded engine {server.how_ended()}: {server.said()}")
    return line
