"""Ports for servers that a test starts."""

import secrets
import socket
from contextlib import suppress

PORTS = range(20_000, 32_000)
"""Below those that Linux gives to connections, which may take one before a slow server does."""


def free_port() -> int:
    """One whose next is free too: the service takes both."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as one, socket.socket() as following, suppress(OSError):
            one.bind(("127.0.0.1", port))
            following.bind(("127.0.0.1", port + 1))
            return port
