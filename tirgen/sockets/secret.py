"""Secrets that a server creates and stores in a file that only its user can read."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from storage import files


class SecretExposed(Exception):
    """Other users can read or write the file of a secret."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} holds a secret, and other users can read or replace it; chmod 600 {path}, "
            "or delete it if it is not yours: a new one is created"
        )


def new_secret() -> str:
    """256 random bits, in characters that are safe in headers, URLs and shells."""
    return secrets.token_urlsafe(32)


def keep_secret(path: Path, secret: str) -> str:
    """The secret in the file `path`; if there is none, `secret` is written to it with mode 0600.

    Its folder becomes private. Of several processes at once one writes, and all get the same.

    Raises:
        SecretExposed: see `read_secret`.
    """
    make_private(path.parent)
    temporary = files.temporary_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    files.place_new(temporary, path)
    return read_secret(path) or secret


def make_private(folder: Path) -> None:
    """Create the folder if it is missing, and allow only its user to enter it."""
    files.make_folder(folder)
    folder.chmod(0o700)


def read_secret(path: Path) -> str | None:
    """The secret in a file; None if there is none.

    Raises:
        SecretExposed: the file belongs to another user, or others can read it.
    """
    try:
        with path.open() as file:
            status = os.fstat(file.fileno())
            secret = file.read().strip()
    except FileNotFoundError:
        return None
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise SecretExposed(path)
    return secret or None


def derived(secret: str, purpose: str) -> str:
    """A secret for one purpose, which does not reveal the original secret."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()
