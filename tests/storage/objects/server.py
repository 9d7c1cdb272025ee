"""Runs moto's S3 on loopback, one request after the other, and logs each: ``server.py PORT LOG``.

One at a time, because moto checks a condition and writes in two steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


def logged(app: Any, log: Path) -> Callable[..., Iterable[bytes]]:
    """The application, with a line of method, path and query for each request."""

    def call(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        with log.open("a") as lines:
            where = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
            lines.write(f"{environ['REQUEST_METHOD']} {where}\n")
        answer: Iterable[bytes] = app(environ, start)
        return answer

    return call


if __name__ == "__main__":
    host, port, path = sys.argv[1:]
    app = DomainDispatcherApplication(create_backend_app)
    run_simple(host, int(port), logged(app, Path(path)))
