"""Names in the store: of folders, and of model folders outside the store."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from storage import files
from storage.errors import InvalidName

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
EDGE = 1 << 20
"""Bytes from either end of a large file that its digest covers: weights of another training differ
everywhere, and hashing a whole 7B model takes half a minute."""


def folders(parent: Path) -> list[Path]:
    """The entries of a folder that have a safe name, sorted by name; others are ignored."""
    files.update(parent)
    return sorted(path for path in parent.glob("*") if _SAFE.fullmatch(path.name))


def safe(name: str, what: str) -> str:
    """The name itself.

    Raises:
        InvalidName: it could lead out of its folder, or some file system cannot store it.
    """
    if not _SAFE.fullmatch(name):
        hint = "use letters, digits, dot, dash and underscore, beginning with a letter or digit"
        raise InvalidName(f"{name!r} cannot be a {what}", hint)
    return name


def portable_name(folder: Path, store: Path) -> str:
    """How a model folder is recorded, with the same meaning on every machine.

    A folder in the store by its path there (``policies/pi/versions/v1``), any other by its name
    and a digest of its files (``Qwen/Qwen2.5-Math-7B#1f0c3a9d``); never an absolute path.
    """
    folder, root = folder.resolve(), store.resolve()
    if folder.is_relative_to(root):
        return folder.relative_to(root).as_posix()
    return f"{folder.parent.name}/{folder.name}#{_digest(folder)}"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as content:
            digest.update(content.read(EDGE))
            content.seek(max(size - EDGE, 0))
            digest.update(content.read(EDGE))
    return digest.hexdigest()[:8]
