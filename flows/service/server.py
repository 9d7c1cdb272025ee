"""``python -m flows.service.server``: Prefect's server and UI, behind the rule of `tirgen.sockets`.

It reads Prefect's own settings and asks for the secret in PREFECT_SERVER_API_AUTH_STRING, without
which it listens on loopback only. Prefect checks that secret too; for WebSockets only Prefect does,
since their clients send it in their first message.
"""

from __future__ import annotations

import argparse
import base64
import os

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings

from flows.service.home import SERVER_AUTH, pages_cookie
from flows.service.ports import HOST
from tirgen.sockets.asgi_guard import Guarded
from tirgen.sockets.login_link import LoginLink
from tirgen.sockets.rule import RequestHead, SocketRule, basic, names_of, require_secret

API = "/api"
OPEN = (f"{API}/health", f"{API}/ready")
"""The part of the API that needs no secret."""


def serve(host: str, port: int) -> None:
    """Serve until ended by a signal. Raises `ConfigError`."""
    login = os.environ.get(SERVER_AUTH)
    require_secret(host, bool(login), f"set {SERVER_AUTH}, or listen on {HOST}")
    settings = get_current_settings().server
    uvicorn.run(
        Guarded(create_app(final=True), rule(host, login), entrance(login, port)),
        host=host,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


def rule(host: str, login: str | None) -> SocketRule:
    """`login` is ``user:password``; the UI's files need none, they hold only Prefect's program."""
    return SocketRule(names_of(host), (basic(login),) if login else (), guards=_is_guarded)


def entrance(login: str | None, port: int) -> LoginLink | None:
    """The page behind the link that `tirgen up` prints; it opens the trajectory pages, too."""
    if not login:
        return None
    password = base64.b64encode(login.encode()).decode()
    return LoginLink(login, pages_cookie(login, port + 1), password)


def _is_guarded(asked: RequestHead) -> bool:
    is_api = asked.path == API or asked.path.startswith(f"{API}/")
    return is_api and asked.path not in OPEN and not asked.is_websocket


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.service.server", description=__doc__)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, default=4200)
    serve(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
