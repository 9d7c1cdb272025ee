"""How a model's folder is recorded, so that the record means the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

EDGE = 1 << 20
"""Bytes from either end of a large file that its digest is made of: weights of another training
differ everywhere, and hashing all of a 7B model takes half a minute."""


def portable_name(folder: Path, store: Path) -> str:
    """A folder in the store by its place in it; any other by its own name and what it holds.

    ``policies/pi/versions/v1``, or ``Qwen/Qwen2.5-Math-7B#1f0c3a9d``: never an absolute path.
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
