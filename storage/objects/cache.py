"""How much of the buckets' files this machine keeps: the oldest go when a setting is exceeded.

A file that was read within `QUIET_SECONDS`, or that belongs to a version which a process of this
machine holds, stays. What was removed is fetched again when it is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from storage.holds import alone
from storage.memory import gigabytes
from storage.places import mirrors

VARIABLE = "TIRGEN_CACHE_GB"
"""Environment variable with the limit in GB of all mirrors together."""
DEFAULT_GB = 50.0
QUIET_SECONDS = 600.0


class Cache:
    """The fetched files of all mirrors of this machine."""

    def __init__(self) -> None:
        """Raises StoreError if the variable is not a positive number."""
        self._limit = gigabytes(VARIABLE, DEFAULT_GB, "50")
        self._since = self._limit  # a process begins by looking
        """Bytes added since the files were last counted."""

    def used(self, path: Path) -> None:
        """Note that a file is read now."""
        with suppress(FileNotFoundError):
            os.utime(path)

    def added(self, path: Path) -> None:
        """Note a new file, and remove old ones where there is too much."""
        self._since += path.stat().st_size
        if self._since < self._limit // 20:
            return
        self._since = 0
        found = sorted(_fetched())
        total = sum(size for _, size, _ in found)
        for used, size, old in found:
            if total <= self._limit or time.time() - used < QUIET_SECONDS:
                return
            if _used(old) == used and not _is_held(old):
                old.unlink(missing_ok=True)
                total -= size


def _fetched() -> Iterator[tuple[float, int, Path]]:
    """Every file that can be fetched again: when it was used, its size, its path."""
    for pattern in ("*/datasets/*/runs/*/batches/*.parquet", "*/*/*/versions/*/**/*"):
        for path in mirrors().glob(pattern):
            if path.suffix != ".json" and path.is_file():
                about = path.stat()
                yield about.st_mtime, about.st_size, path


def _used(path: Path) -> float:
    """When a file was used last, as far as it is still there."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_held(path: Path) -> bool:
    """Whether a process of this machine holds the version of the file (`storage.holds`)."""
    manifests = [folder / "manifest.json" for folder in (path.parent, path.parent.parent)]
    manifest = next((one for one in manifests if one.exists()), None)
    if manifest is None:
        return False
    with alone(manifest) as granted:
        return not granted
