"""The server process: opens the engine, listens, reports its address, ends on a signal."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from tirgen.embedded.architecture import ModelUnsupported
from tirgen.embedded.batching import ContinuousBatchingEngine
from tirgen.embedded.models import API_KEY_VARIABLE, MODEL_DIR, model_name
from tirgen.embedded.routes import Routes
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.process import end_with_parent
from tirgen.settings import ConfigError
from tirgen.sockets.aiohttp_guard import runner
from tirgen.sockets.rule import address_of, require_secret

_GRACE_SECONDS = 5.0
"""How long running requests can continue after a signal to end."""
_SWITCH_SECONDS = 0.0005
"""The pipeline holds the GIL while it computes a token; HTTP waits for it this long at most."""


def serve(
    model_dir: Path = MODEL_DIR,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    settings: ServingSettings | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` gets the base URL, and by default prints it.

    `model` is the name in `/v1/models`, by default `model_name` of the folder. Port 0 means any
    free port. Raises `ModelUnsupported` for a folder that the engine cannot load, `OSError` when
    the address is in use, and `ConfigError` for an address other than loopback without a key.
    """
    hint = f"set {API_KEY_VARIABLE}, or listen on 127.0.0.1"
    require_secret(host, bool(os.environ.get(API_KEY_VARIABLE)), hint)
    sys.setswitchinterval(_SWITCH_SECONDS)
    name = model or model_name(model_dir)
    asyncio.run(_serve(model_dir, host, port, name, settings, ready or _announce))


def _announce(base_url: str) -> None:
    print(base_url, flush=True)


async def _serve(
    model_dir: Path,
    host: str,
    port: int,
    model: str,
    settings: ServingSettings | None,
    ready: Callable[[str], None],
) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    engine = ContinuousBatchingEngine(model_dir, settings)
    api_key = os.environ.get(API_KEY_VARIABLE) or None
    routes = Routes(engine, model=model, api_key=api_key, host=host)
    served = runner(routes.application(), shutdown_timeout=_GRACE_SECONDS, access_log=None)
    try:
        await served.setup()
        await web.TCPSite(served, host, port, backlog=1024).start()
        ready(f"{address_of(host, served.addresses[0][1])}/v1")
        await end.wait()
    finally:
        await served.cleanup()
        engine.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m tirgen.embedded.server`, which `local` starts; people use `tirgen serve`."""
    parser = argparse.ArgumentParser(prog="python -m tirgen.embedded.server", description=__doc__)
    parser.add_argument("model_dir", type=Path, nargs="?", default=MODEL_DIR)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model")
    parser.add_argument("--die-with-parent", action="store_true")
    parser.add_argument("--settings", type=ServingSettings.model_validate_json, help="as JSON")
    options = vars(parser.parse_args(arguments))
    if options.pop("die_with_parent"):
        end_with_parent()
    try:
        serve(**options)
    except (ConfigError, ModelUnsupported, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
