"""``tirgen sandbox``: the sandbox as a service of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

from cyclopts import App

from flows.commands.common import AtLeastOne, Port
from flows.console import say
from tirgen.sandbox.remote import read_token
from tirgen.settings import ConfigError

app = App(name="sandbox", version_flags=(), help="The sandbox that model-written code runs in.")


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: Port = 8080,
    floor: Literal["root", "userns", "bare", "posix"] = "bare",
    slots: AtLeastOne | None = None,
    session_memory: AtLeastOne | None = None,
    python: str | None = None,
    preload: tuple[str, ...] = (),
) -> None:
    """Serve the sandbox over HTTP with SandboxFusion's /run_code until interrupted.

    The token that clients must bear is read from TIRGEN_SANDBOX_TOKEN, or from the file that
    TIRGEN_SANDBOX_TOKEN_FILE names; any address but loopback needs one.

    Example: tirgen sandbox serve --port 8080

    Parameters
    ----------
    host
        Address to bind.
    port
        Port to bind; 0 takes any free one.
    floor
        Weakest isolation accepted.
    slots
        Programs run at once, 1 or more; by default one a core.
    session_memory
        Megabytes that all sessions hold together between their cells; by default 1024 a slot.
    python
        Interpreter that runs programs, such as /path/to/venv/bin/python; by default tirgen's own.
    preload
        Module loaded once for all programs, beside numpy and sympy; may be repeated.
    """
    from tirgen.sandbox.service import serve as serve_forever

    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(
                serve_forever(
                    host,
                    port,
                    read_token(),
                    floor,
                    slots,
                    _announce,
                    session_memory_mb=session_memory,
                    python=python,
                    preload=preload,
                )
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None


def _announce(address: str) -> None:
    say(f"serving on {address} (POST /run_code); stop with Ctrl-C")
