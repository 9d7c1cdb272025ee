"""Secrets that a server makes for itself and keeps in a file that only its user can read."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from storage import files


class SecretExposed(Exception):
    """The file of a secret can be read or written by somebody else."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} holds a secret, and others than you can read or replace it; chmod 600 {path}, "
            "or delete it if it is not yours: a new one is made"
        )


def new_secret() -> str:
    """256 random bits, in characters that headers, URLs and shells leave alone."""
    return secrets.token_urlsafe(32)


def keep_secret(path: Path, secret: str) -> str:
    """What `path` holds, or `secret`, which it then holds with mode 0600.

    The folder becomes its user's alone. Of several processes at once one writes, all agree.

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
    """The folder, made where there is none, is its user's alone, whatever the files in it are."""
    files.make_folder(folder)
    folder.chmod(0o700)


def read_secret(path: Path) -> str | None:
    """The secret in a file; None where there is none.

    Raises:
        SecretExposed: it belongs to somebody else, or others can read it.
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
    """A secret for one purpose, which tells nothing of the one it comes from."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()
