"""Holds: while a process uses a version, no other process removes it.

A hold is a shared lock (`flock`) on the version's manifest. The kernel frees it when the process
ends, however it ends. A process takes an exclusive lock before it removes a version.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Hold:
    """Holds the version with this manifest until the object is gone."""

    def __init__(self, manifest: Path) -> None:
        """Waits while another process is `alone` with it, which takes a moment.

        Raises OSError if the version is gone.
        """
        descriptor = os.open(manifest, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError:  # a file system without locks: `alone` refuses to remove anything there
            return
        if not _is_at(descriptor, manifest):
            raise FileNotFoundError(manifest)


@contextmanager
def alone(manifest: Path) -> Iterator[bool]:
    """Whether the version is there and no process holds it; none can begin to until the end of the
    block."""
    try:
        descriptor = os.open(manifest, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        granted = False
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            granted = _is_at(descriptor, manifest)
        yield granted
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, manifest: Path) -> bool:
    """Whether an open file still has this name. Raises OSError where nothing has it."""
    return os.fstat(descriptor).st_ino == manifest.stat().st_ino
