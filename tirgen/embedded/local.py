"""The pocket engine as a child process of whoever needs it: started, waited for, ended."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from tirgen.embedded.models import API_KEY_VARIABLE, MODEL_DIR, model_name
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.engine.errors import EngineMisconfigured

__all__ = ["MODEL_DIR", "pocket_engine_server"]

_START_SECONDS = 60.0
"""Starting takes one second on a free machine."""
_END_SECONDS = 10.0
"""How long the server may take to end before it is killed."""
_SHOWN = 2000
"""Characters of the server's last words to quote when it does not start."""


@asynccontextmanager
async def pocket_engine_server(
    model_dir: Path = MODEL_DIR,
    *,
    model: str | None = None,
    port: int = 0,
    settings: ServingSettings | None = None,
) -> AsyncIterator[str]:
    """Run a server for the block; yields its base URL, up to and with `/v1`.

    `model` is what `/v1/models` calls it, by default `model_name` of the folder.

    The child ends with the block, and with this process however that ends. Raises
    `EngineMisconfigured`, with what the child said last, when it does not come up.
    """
    with tempfile.TemporaryFile() as log:
        process = await _start(model_dir, model, port, settings, log)
        try:
            yield await _base_url(process, log)
        finally:
            await _end(process)


async def _start(
    model_dir: Path, model: str | None, port: int, settings: ServingSettings | None, log: IO[bytes]
) -> Process:
    command = ["-m", "tirgen.embedded.server", str(model_dir), "--die-with-parent"]
    command += ["--model", model or model_name(model_dir), "--port", str(port)]
    command += ["--settings", (settings or ServingSettings()).model_dump_json()]
    environment = {k: v for k, v in os.environ.items() if k != API_KEY_VARIABLE}
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=PIPE, stdout=PIPE, stderr=log, env=environment
    )


async def _base_url(process: Process, log: IO[bytes]) -> str:
    """The line the server prints once it listens."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline()
    except TimeoutError:
        raise _not_started(f"did not start within {_START_SECONDS:.0f} s", log) from None
    if not line:
        raise _not_started(f"ended with exit code {await process.wait()}", log)
    return line.decode().strip()


def _not_started(what: str, log: IO[bytes]) -> EngineMisconfigured:
    log.seek(0)
    words = log.read().decode("utf-8", "replace").strip()[-_SHOWN:]
    return EngineMisconfigured(f"The pocket engine {what}: {words or 'it said nothing.'}")


async def _end(process: Process) -> None:
    """SIGTERM, and SIGKILL when that is not heeded; also when we are being cancelled ourselves."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.communicate()  # waits, and closes the pipes
    except TimeoutError:
        process.kill()
        await process.communicate()
