"""``tirgen sandbox``: the sandbox as a service of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os

from cyclopts import App

from flows.console import say
from tirgen.config import ConfigError

TOKEN_VARIABLE = "TIRGEN_SANDBOX_TOKEN"

app = App(name="sandbox", help="The sandbox that model-written code runs in.")


@app.command
def serve(
    *, host: str = "127.0.0.1", port: int = 8080, floor: str = "bare", slots: int | None = None
) -> None:
    """Serve the sandbox over HTTP with SandboxFusion's /run_code until interrupted.

    The token that clients must bear is read from TIRGEN_SANDBOX_TOKEN; any address but loopback
    needs one.

    Example: tirgen sandbox serve --port 8080

    Parameters
    ----------
    host
        Address to bind.
    port
        Port to bind; 0 takes any free one.
    floor
        Weakest isolation accepted: root, userns, bare or posix.
    slots
        Programs run at once; by default one a core.
    """
    from tirgen.sandbox.service import serve as serve_forever

    token = os.environ.get(TOKEN_VARIABLE)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(serve_forever(host, port, token, floor, slots, _announce))
        except ValueError as error:
            raise ConfigError(f"{error} (the token is read from {TOKEN_VARIABLE})") from None


def _announce(address: str) -> None:
    say(f"serving on {address} (POST /run_code); stop with Ctrl-C")
