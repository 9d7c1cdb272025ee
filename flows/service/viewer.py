"""Inspect's viewer on loopback, behind the rule of `tirgen.sockets`, as a child process.

``python -m flows.service.viewer`` is that child. The first line of its standard input is the secret
behind the link; it ends when its input ends. Inspect's own viewer would be open to every user of
the machine.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flows.service.ports import HOST, ServiceFailed, is_taken, status
from tirgen.process import Child, ChildLost, end_with_parent

if TYPE_CHECKING:
    from tirgen.sockets.asgi_guard import Application, Guarded, Message, Receive, Scope, Send

_LISTINGS = ("/log-dir", "/logs", "/log-files")
"""Routes whose answers name the folder."""
_LENGTH = b"content-length"
START_SECONDS = 300.0
"""How long the viewer may take to answer, on a busy machine."""


@contextlib.contextmanager
def serving_logs(logs: Path, port: int, secret: str) -> Iterator[Child]:
    """Run the viewer for the block and yield it once it answers; an interrupt ends the block.

    Raises:
        ServiceFailed: the port is taken, the viewer did not start, or it asks for no secret.
    """
    viewer = _start(logs, port, secret)
    try:
        _wait(viewer, port)
        yield viewer
    except KeyboardInterrupt:  # how users end the viewer
        return
    finally:
        viewer.end()


def _start(logs: Path, port: int, secret: str) -> Child:
    if is_taken(port):
        raise ServiceFailed(f"port {port} is taken", "choose another, or none for a free one")
    options = ("--log-dir", logs.name, "--host", HOST, "--port", str(port))
    viewer = Child(
        [sys.executable, "-m", "flows.service.viewer", "view", "start", *options],
        cwd=logs.parent,  # the user's folder may hold a .env file
        env={**os.environ, "XDG_DATA_HOME": str(logs.parent)},  # it ends viewers recorded there
    )
    with contextlib.suppress(ChildLost):  # `_wait` says why it ended
        viewer.write(f"{secret}\n".encode())
    return viewer


def _wait(viewer: Child, port: int) -> None:
    address = f"http://{HOST}:{port}/"
    try:
        viewer.wait_ready(lambda: status(address) != 0, START_SECONDS)
    except ChildLost as error:
        raise ServiceFailed(
            f"the viewer did not start on port {port}: it {error}",
            "tirgen traj show ID --html page.html needs no viewer",
        ) from error
    if status(address) != HTTPStatus.UNAUTHORIZED:
        raise ServiceFailed(
            "the viewer of this version of inspect_ai would be open to every user of this machine",
            "pip install 'tirgen[view]' installs a version that is not",
        )


class NamedLogs:
    """Inspect's application, for which the folder of the logs lies at the root.

    Its page shows the folder's whole path and asks by it, but the logs lie in a temporary folder.
    """

    def __init__(self, application: Application, folder: Path) -> None:
        self._application = application
        self._real, self._shown = f"file://{folder}", f"file:///{folder.name}"  # as Inspect does

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._application(scope, receive, send)
        query = scope["query_string"].replace(_quoted(self._shown), _quoted(self._real))
        path = scope["path"].replace(self._shown, self._real)
        listing = path.endswith(_LISTINGS)
        asked = {**scope, "path": path, "query_string": query}
        await self._application(asked, receive, self._renaming(send) if listing else send)

    def _renaming(self, send: Send) -> Send:
        start: Message = {}
        parts: list[bytes] = []

        async def renamed(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(parts).replace(self._real.encode(), self._shown.encode())
            kept = [(name, value) for name, value in start["headers"] if name != _LENGTH]
            await send({**start, "headers": [*kept, (_LENGTH, b"%d" % len(body))]})
            await send({"type": "http.response.body", "body": body})

        return renamed


def _quoted(uri: str) -> bytes:
    """As it stands in a query."""
    return quote(uri, safe="").encode()


def main() -> None:
    """Run Inspect's own command line with our application in front of its server."""
    secret = sys.stdin.readline().strip()
    end_with_parent()
    import uvicorn

    class Config(uvicorn.Config):
        """Inspect offers no other way to put anything in front of its application."""

        def __init__(self, app: Any, *arguments: Any, **options: Any) -> None:
            logs = sys.argv[sys.argv.index("--log-dir") + 1]
            named = NamedLogs(app, Path(logs).absolute())
            super().__init__(_guarded(named, secret, options["port"]), *arguments, **options)

    uvicorn.Config = Config  # type: ignore[misc]
    from inspect_ai._cli.main import main as inspect

    inspect()


def _guarded(app: Any, secret: str, port: int) -> Guarded:
    from tirgen.sockets.asgi_guard import Guarded
    from tirgen.sockets.login_link import LoginLink
    from tirgen.sockets.rule import SocketRule, bearer, names_of
    from tirgen.sockets.secret import derived

    cookie = (f"tirgen-viewer-{port}", derived(secret, "viewer"))
    rule = SocketRule(names_of(HOST), (bearer(secret),), cookie)
    return Guarded(app, rule, LoginLink(secret, cookie, once=False))


if __name__ == "__main__":
    main()
