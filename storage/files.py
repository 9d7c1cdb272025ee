"""Every operation that changes files, each atomic or append-only, and durable when it returns.

Nothing else in the store renames, links or appends, so that another file system can take the
place of the local one here. What a crash leaves behind is at worst a file nobody names.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no reader's pattern matches and no other writer takes."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path`: readers see the old file or the whole new one."""
    with removed_on_failure(temporary_beside(path)) as temporary:
        temporary.write_bytes(content)
        replace(temporary, path)


@contextmanager
def removed_on_failure(temporary: Path) -> Iterator[Path]:
    """A temporary file or folder that does not outlive a failure: a full disk stays no fuller."""
    try:
        yield temporary
    except BaseException:
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """A text file for the time of a `with`, at whose end it appears as a whole; on failure not.

    A pipe or a device is written as one goes. Raises FileNotFoundError where the folder is not.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as stream:
            yield stream
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    with removed_on_failure(temporary_beside(path)) as temporary:
        with temporary.open("w", encoding="utf-8") as stream:
            yield stream
        replace(temporary, path)


def replace(temporary: Path, path: Path) -> None:
    """Move a finished temporary file into place, over what was there."""
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def place_new(temporary: Path, path: Path) -> bool:
    """Move a finished temporary file into place unless something is there; true if it was moved."""
    sync(temporary)
    try:
        os.link(temporary, path)
        moved = True
    except FileExistsError:
        moved = False
    temporary.unlink()
    sync(path.parent)
    return moved


def place_new_folder(temporary: Path, path: Path) -> bool:
    """Move a finished folder into place unless one is there; true if it was moved."""
    for file in temporary.iterdir():
        sync(file)
    sync(temporary)
    try:
        os.rename(temporary, path)
    except OSError:
        if not path.exists():
            raise
        return False
    sync(path.parent)
    return True


def point_to(link: Path, target: str) -> None:
    """Make the symbolic link `link` point to its sibling `target`, atomically."""
    with removed_on_failure(temporary_beside(link)) as temporary:
        temporary.symlink_to(target)
        os.replace(temporary, link)
    sync(link.parent)


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write that other processes' lines cannot mix with.

    The line begins with a line break of its own, so that a fragment left by a writer that was
    killed is closed off by whoever comes next, without anybody having to notice it.
    """
    content = f"\n{line}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        written = os.write(descriptor, content)
        if written != len(content):
            raise OSError(f"only {written} of {len(content)} bytes fitted into {path}: disk full?")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """The folder and its parents, durable in their parents."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Have the file or the folder's entries on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """The file is there, and its SHA-256 is the one that was written down."""
    return path.is_file() and sha256(path) == digest
