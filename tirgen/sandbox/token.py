"""The token of the sandbox services: given, or made by the service and found by the same user."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from tirgen.sockets.rule import is_loopback
from tirgen.sockets.secret import keep_secret, new_secret, read_secret

TOKEN_VARIABLE = "TIRGEN_SANDBOX_TOKEN"
TOKEN_FILE_VARIABLE = "TIRGEN_SANDBOX_TOKEN_FILE"


def read_token() -> str | None:
    """The services' token, from the environment or from the file it names, never from argv."""
    if path := os.environ.get(TOKEN_FILE_VARIABLE):
        return Path(path).expanduser().read_text().strip()
    return os.environ.get(TOKEN_VARIABLE) or None


def served_token() -> str:
    """The token a service asks for: the given one, or one that all services of this user share.

    Raises `SecretExposed` if others can read the file of the shared one.
    """
    return read_token() or keep_secret(token_file(), new_secret())


def token_of(url: str) -> str | None:
    """The token to send to a service; the one made here is for services on this machine only.

    Raises `SecretExposed` as above.
    """
    if given := read_token():
        return given
    return read_secret(token_file()) if is_loopback(urlsplit(url).hostname or "") else None


def token_file() -> Path:
    """Where a service keeps the token it made: in the user's state folder (XDG)."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "tirgen" / "sandbox-token"
