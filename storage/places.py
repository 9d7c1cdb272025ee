"""What a store asks of the place it lies on, and which place a path belongs to.

A store on a disk is its folder (`storage.disk`). A store in a bucket has a folder here too, which
mirrors what was read of it (`storage.objects`). All code works with paths; only these operations
differ, and `storage.files` calls those of the place that a path belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from storage import documents
from storage.objects.address import endpoint

if TYPE_CHECKING:
    from storage.objects.mirror import Mirror

VARIABLE = "TIRGEN_CACHE"
"""Environment variable with the folder in which stores in buckets are mirrored."""
ADDRESS = "store.json"
"""File of a mirror that says what it mirrors."""


class Aged(NamedTuple):
    """A file and the seconds since it was written, by the clock of the place."""

    path: Path
    seconds: float


class Place(Protocol):
    """The operations on a store that differ with where it lies.

    Those that change something are atomic, and durable when they return unless they say otherwise.
    All raise OSError or StoreError.
    """

    def update(self, path: Path, ago: float) -> None:
        """Let the folder or log show what every process had finished `ago` seconds ago or later."""
        ...

    def present(self, path: Path) -> int | None:
        """The size of a committed file, or None where only `fetch` can tell.

        Raises FileNotFoundError.
        """
        ...

    def fetch(self, path: Path) -> None:
        """Let a committed file lie under its path. Raises FileNotFoundError."""
        ...

    def fetch_folder(self, folder: Path) -> None:
        """Let all files of a folder that was placed as a whole lie under their paths."""
        ...

    def fetch_again(self, path: Path) -> None:
        """The same, not from a copy of an earlier call."""
        ...

    def write_atomic(self, path: Path, content: bytes) -> None:
        """Readers see the old file or the complete new one."""
        ...

    def rewrite(self, path: Path, content: bytes) -> bool:
        """The same for a file that this process wrote; false if another has replaced it."""
        ...

    def note(self, path: Path, content: bytes) -> None:
        """The same for a file that no decision rests on; others may see it later."""
        ...

    def changed(self, path: Path) -> None:
        """Say that this process has appended to a note or removed it; others may see it later."""
        ...

    def replace(self, temporary: Path, path: Path) -> None:
        """Move a finished temporary file into place, replacing any file there."""
        ...

    def place_new(self, temporary: Path, path: Path) -> bool:
        """Move a finished temporary file into place unless that name exists; true if moved."""
        ...

    def share(self, source: Path, path: Path) -> None:
        """Give a file that never changes a second name, where possible without copying it."""
        ...

    def place_new_folder(self, temporary: Path, path: Path) -> bool:
        """Move a finished folder into place unless that name exists; true if it was moved."""
        ...

    def point_to(self, link: Path, target: str) -> None:
        """Make the symbolic link `link` point to its sibling `target`."""
        ...

    def append_line(self, path: Path, line: str, *, synced: bool) -> None:
        """Append one line, so that lines of several processes never mix.

        What is not `synced` survives the end of the process, but not a power cut.
        """
        ...

    def remove(self, path: Path) -> None:
        """Remove a file or link; nothing happens if there is none."""
        ...

    def remove_folder(self, path: Path) -> None:
        """Remove a folder with all that is in it; nothing happens if there is none."""
        ...

    def alone(self, lock: Path) -> AbstractContextManager[bool]:
        """Whether the block has the lock; no other process has it until the end of the block."""
        ...

    def aged(self, folder: Path) -> Iterator[Aged]:
        """The entries of a folder of batches with their ages."""
        ...


@cache
def mirrors() -> Path:
    """The folder with one mirror for each store in a bucket."""
    given = os.environ.get(VARIABLE)
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.path.realpath(given or cached / "tirgen")) / "stores"


def open_mirror(address: str) -> Path:
    """The folder that mirrors a store in a bucket; made here, and nothing is asked."""
    about = {"address": address, "endpoint": endpoint()}
    content = json.dumps(about)
    root = mirrors() / hashlib.sha256(content.encode()).hexdigest()[:16]
    if not (root / ADDRESS).exists():
        root.mkdir(parents=True, exist_ok=True)
        temporary = root / f".{ADDRESS}.{os.getpid()}.tmp"
        temporary.write_bytes(documents.dump(about))
        os.replace(temporary, root / ADDRESS)
    return root


def mirror_of(path: Path) -> Mirror | None:
    """The mirror that a path lies in; None for a path on a disk."""
    beginning = f"{mirrors()}{os.sep}"
    if not str(path).startswith(beginning):
        return None
    return _mirror(mirrors() / str(path)[len(beginning) :].partition(os.sep)[0])


@cache
def _mirror(root: Path) -> Mirror:
    from storage.objects.mirror import Mirror  # only a store in a bucket needs its client

    return Mirror(root)


def shown(path: Path) -> str:
    """A path as people know it: below the address of the bucket if it lies in a mirror."""
    mirror = mirror_of(path)
    return mirror.shown(path) if mirror else str(path)
