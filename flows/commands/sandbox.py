"""``tirgen sandbox``: the sandbox as a service of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

from flows.commands.common import AtLeastOne, Port
from flows.console import say
from tirgen.sandbox.remote import read_token
from tirgen.settings import ConfigError


def serve(
    *,
    host: str = "127.0.0.1",
    port: Port = 8080,
    floor: Literal["root", "userns", "bare", "posix"] = "bare",
    slots: AtLeastOne | None = None,
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
    """
    from tirgen.sandbox.service import serve as serve_forever

    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(serve_forever(host, port, read_token(), floor, slots, _announce))
        except ValueError as error:
            raise ConfigError(str(error)) from None


def _announce(address: str) -> None:
    say(f"serving on {address} (POST /run_code); stop with Ctrl-C")
