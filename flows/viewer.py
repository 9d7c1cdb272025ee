"""``python -m flows.viewer``: the command of Inspect, whose viewer then stands behind our rule.

The secret that its link is made from is the first line of standard input; the viewer ends when that
input does. Inspect's own viewer would be open to every user of the machine.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

from tirgen.process import end_with_parent
from tirgen.sockets.asgi_guard import Guarded
from tirgen.sockets.login_link import LoginLink
from tirgen.sockets.rule import Rule, bearer, names_of
from tirgen.sockets.secret import derived

HOST = "127.0.0.1"


def main() -> None:
    secret = sys.stdin.readline().strip()
    end_with_parent()

    class Config(uvicorn.Config):
        """Inspect has no other way to put anything before its application."""

        def __init__(self, app: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(_guarded(app, secret, options["port"]), *arguments, **options)

    uvicorn.Config = Config  # type: ignore[misc]
    from inspect_ai._cli.main import main as inspect

    inspect()


def _guarded(app: Any, secret: str, port: int) -> Guarded:
    cookie = (f"tirgen-viewer-{port}", derived(secret, "viewer"))
    rule = Rule(names_of(HOST), (bearer(secret),), cookie)
    return Guarded(app, rule, LoginLink(secret, cookie, once=False))


if __name__ == "__main__":
    main()
