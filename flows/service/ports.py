"""Servers on this machine: whether a port is taken, and what the server behind it answers."""

from __future__ import annotations

import errno
import http.client
import socket
import urllib.error
import urllib.request

from flows.terminal.failures import FlowError
from tirgen.sockets.rule import basic

HOST = "127.0.0.1"


class ServiceFailed(FlowError):
    """A server or a worker on this machine could not be started."""

    kind = "service"


def is_taken(port: int) -> bool:
    """Whether a program listens on the port; one that only waits for its last packets does not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


def free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


def status(address: str, login: str | None = None) -> int:
    """The HTTP status that a server answers to a client with this login; 0 without an answer."""
    headers = {"Authorization": basic(login)} if login else {}
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    except (OSError, http.client.HTTPException):
        return 0


def is_healthy(address: str) -> bool:
    """Whether a server of the service answers at this address."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.read() == b"true")
    except (OSError, http.client.HTTPException):
        return False
