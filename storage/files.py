"""Every operation that changes files: each is atomic or append-only, and durable when it returns
unless it says otherwise.

No other module of the store renames, links or appends. A crash leaves at worst a file that nothing
refers to.
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
    """A unique name in the same folder that no reader's pattern matches."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path`: readers see the old file or the complete new one."""
    with temporary_for(path) as temporary:
        temporary.write_bytes(content)
        replace(temporary, path)


@contextmanager
def temporary_for(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; at the end, what is still there under it is removed."""
    temporary = temporary_beside(path)
    try:
        yield temporary
    finally:
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """A text file to write, which appears under its name only when the `with` block succeeds.

    A pipe or a device is written directly. Raises FileNotFoundError where the folder is missing.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as stream:
            yield stream
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    with temporary_for(path) as temporary:
        with temporary.open("w", encoding="utf-8") as stream:
            yield stream
        replace(temporary, path)


def replace(temporary: Path, path: Path) -> None:
    """Move a finished temporary file into place, replacing any file there."""
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def place_new(temporary: Path, path: Path) -> bool:
    """Move a finished temporary file into place unless that name exists; true if it was moved."""
    sync(temporary)
    try:
        os.link(temporary, path)
        moved = True
    except FileExistsError:
        moved = False
    temporary.unlink()
    sync(path.parent)
    return moved


def share(source: Path, path: Path) -> None:
    """Give a file that never changes a second name, where possible without copying it."""
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        shutil.copyfile(source, path)


def place_new_folder(temporary: Path, path: Path) -> bool:
    """Move a finished folder into place unless that name exists; true if it was moved."""
    for file in temporary.rglob("*"):
        sync(file)
    sync(temporary)
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        return False
    sync(path.parent)
    return True


def point_to(link: Path, target: str) -> None:
    """Make the symbolic link `link` point to its sibling `target`, atomically."""
    with temporary_for(link) as temporary:
        temporary.symlink_to(target)
        os.replace(temporary, link)
    sync(link.parent)


def append_line(path: Path, line: str, *, synced: bool = True) -> None:
    """Append one line in a single write, so that lines of several processes never mix.

    The line also begins with a line break, which ends a fragment that a killed writer may have
    left before it. What is not `synced` survives the end of the process, but not a power cut.
    """
    content = f"\n{line}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        written = os.write(descriptor, content)
        if written != len(content):
            raise OSError(f"only {written} of {len(content)} bytes fit into {path}: disk full?")
        if synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create the folder and its parents durably."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the file, or the entries of the folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """Whether the file exists and has this SHA-256."""
    return path.is_file() and sha256(path) == digest
