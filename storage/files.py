"""Every operation that changes files, on whatever the store lies on (`storage.places`).

Each is atomic or append-only, and durable when it returns unless it says otherwise. No other module
of the store renames, links or appends. A crash leaves at worst a file that nothing refers to.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

from storage.disk import Disk
from storage.disk import make_folder as make_folder
from storage.disk import temporary_beside as temporary_beside
from storage.disk import temporary_for as temporary_for
from storage.errors import Damaged
from storage.places import Aged, Place, mirror_of

_DISK = Disk()


def place_of(path: Path) -> Place:
    """What a path lies on."""
    return mirror_of(path) or _DISK


def update(path: Path, ago: float = 0.0) -> None:
    """Let a folder or a log show what every process had finished `ago` seconds ago or later."""
    place_of(path).update(path, ago)


def present(path: Path) -> int | None:
    """See `Place.present`."""
    return place_of(path).present(path)


def fetch(path: Path) -> Path:
    """The path of a committed file, which lies there now. Raises FileNotFoundError."""
    place_of(path).fetch(path)
    return path


def fetch_folder(folder: Path) -> Path:
    """The path of a folder that was placed as a whole, all of whose files lie there now.

    Raises FileNotFoundError.
    """
    place_of(folder).fetch_folder(folder)
    return folder


def fetch_again(path: Path) -> Path:
    """The same, not from a copy of an earlier call."""
    place_of(path).fetch_again(path)
    return path


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path`: readers see the old file or the complete new one."""
    place_of(path).write_atomic(path, content)


def rewrite(path: Path, content: bytes) -> bool:
    """The same for a file that this process wrote; false if another has replaced it."""
    return place_of(path).rewrite(path, content)


def note(path: Path, content: bytes) -> None:
    """The same for a file that no decision rests on; others may see it later."""
    place_of(path).note(path, content)


def changed(path: Path) -> None:
    """Say that this process has appended to a note or removed it; others may see it later."""
    place_of(path).changed(path)


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
    place_of(path).replace(temporary, path)


def place_new(temporary: Path, path: Path) -> bool:
    """Move a finished temporary file into place unless that name exists; true if it was moved."""
    return place_of(path).place_new(temporary, path)


def share(source: Path, path: Path) -> None:
    """Give a file that never changes a second name, where possible without copying it."""
    place_of(path).share(source, path)


def place_new_folder(temporary: Path, path: Path) -> bool:
    """Move a finished folder into place unless that name exists; true if it was moved."""
    return place_of(path).place_new_folder(temporary, path)


def point_to(link: Path, target: str) -> None:
    """Make the symbolic link `link` point to its sibling `target`, atomically."""
    place_of(link).point_to(link, target)


def append_line(path: Path, line: str, *, synced: bool = True) -> None:
    """Append one line in a single write, so that lines of several processes never mix.

    The line also begins with a line break, which ends a fragment that a killed writer may have
    left before it. What is not `synced` survives the end of the process, but not a power cut.
    """
    place_of(path).append_line(path, line, synced=synced)


def remove(path: Path) -> None:
    """Remove a file or link; nothing happens if there is none."""
    place_of(path).remove(path)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it; nothing happens if there is none."""
    place_of(path).remove_folder(path)


def alone(lock: Path) -> AbstractContextManager[bool]:
    """Whether the block has the lock; no other process has it until the end of the block."""
    return place_of(lock).alone(lock)


def aged(folder: Path) -> Iterator[Aged]:
    """The entries of a folder of batches and the seconds since each was written."""
    return place_of(folder).aged(folder)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """Whether the file exists and has this SHA-256, where it is kept and not in a copy."""
    try:
        fetch_again(path)
    except (FileNotFoundError, Damaged):
        return False
    return path.is_file() and sha256(path) == digest
