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
        """Raises FileNotFoundError if the version is gone or is being removed."""
        descriptor = os.open(manifest, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileNotFoundError(manifest) from None
        except OSError:  # a file system without locks: `alone` refuses to remove anything there
            return
        if os.fstat(descriptor).st_ino != manifest.stat().st_ino:
            raise FileNotFoundError(manifest)


@contextmanager
def alone(manifest: Path) -> Iterator[bool]:
    """Whether no process holds the version; none can begin to until the end of the block."""
    descriptor = os.open(manifest, os.O_RDWR)
    try:
        granted = False
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            granted = True
        yield granted
    finally:
        os.close(descriptor)
