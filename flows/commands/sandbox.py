"""``tirgen sandbox``: the sandbox as an HTTP service, and as an MCP server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

from flows.commands.options import AtLeastOne, Port, Seconds
from flows.terminal.console import say
from flows.terminal.failures import require_mcp
from tirgen.sandbox.token import TOKEN_VARIABLE, read_token, served_token, token_file
from tirgen.settings import ConfigError
from tirgen.sockets.rule import is_loopback


def serve(
    *,
    host: str = "127.0.0.1",
    port: Port = 8080,
    floor: Literal["root", "userns", "bare", "posix"] = "bare",
    slots: AtLeastOne | None = None,
    token: bool = True,
    session_memory: AtLeastOne | None = None,
    python: str | None = None,
    preload: tuple[str, ...] = (),
) -> None:
    """Serve the sandbox over HTTP with SandboxFusion's /run_code until interrupted.

    Clients must send a token: that of TIRGEN_SANDBOX_TOKEN, or of the file that
    TIRGEN_SANDBOX_TOKEN_FILE names. Without either, a token is made and kept for your user, and
    tirgen on this machine finds it. Any address but loopback needs a token in one of them.

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
        Programs that run at once, 1 or more; by default one for each core.
    token
        Ask for the token. Without it (on loopback only, for clients that cannot send one) every
        local program may run code here. Web pages are always refused.
    session_memory
        Megabytes that all sessions together keep between their cells; by default 1024 per slot.
    python
        Interpreter that runs programs, such as /path/to/venv/bin/python; by default tirgen's own.
    preload
        Module loaded once for all programs, beside numpy and sympy; may be repeated.
    """
    from tirgen.sandbox.local import LocalSandbox
    from tirgen.sandbox.service import serve as serve_forever

    with contextlib.suppress(KeyboardInterrupt):
        try:
            sandbox = LocalSandbox(
                floor,
                slots=slots,
                session_memory_mb=session_memory,
                python=python,
                preload=preload,
            )
            asyncio.run(serve_forever(sandbox, host, port, _token(host, token), _announce))
        except ValueError as error:
            raise ConfigError(str(error)) from None


def mcp(
    *,
    floor: Literal["root", "userns", "bare", "posix"] = "bare",
    cpu_seconds: Seconds = 10.0,
    wall_seconds: Seconds = 15.0,
    memory: AtLeastOne = 1024,
    slots: AtLeastOne | None = None,
    python: str | None = None,
    preload: tuple[str, ...] = (),
) -> None:
    """Offer the sandbox to an MCP client, which starts this command: one tool, run_python.

    Speaks MCP on standard input and output and opens no port. Each program is a new process.

    Example: claude mcp add sandbox -- tirgen sandbox mcp

    Parameters
    ----------
    floor
        Weakest isolation accepted.
    cpu_seconds
        CPU time of a program.
    wall_seconds
        Time of a program, without waiting for a core.
    memory
        Megabytes of a program.
    slots
        Programs that run at once, 1 or more; by default one for each core.
    python
        Interpreter that runs programs, such as /path/to/venv/bin/python; by default tirgen's own.
    preload
        Module loaded once for all programs, beside numpy and sympy; may be repeated.
    """
    require_mcp()
    from tirgen.sandbox.contract import Limits
    from tirgen.sandbox.local import LocalSandbox
    from tirgen.sandbox.mcp_server import serve as answer

    limits = Limits(cpu_seconds=cpu_seconds, wall_seconds=wall_seconds, memory_mb=memory)
    sandbox = LocalSandbox(floor, slots=slots, python=python, preload=preload)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(answer(sandbox, limits))


def _token(host: str, wanted: bool) -> str | None:
    if not wanted:
        return None
    given = read_token()
    if given or not is_loopback(host):
        return given
    say(f"clients send the token in {token_file()}; to use another, set {TOKEN_VARIABLE}")
    return served_token()


def _announce(address: str) -> None:
    say(f"serving on {address} (POST /run_code); stop with Ctrl-C")
