"""Checksums of stored files by blocks: written where a file is named, verified when it is read.

A reader pays for the blocks that it reads and for no other, and nothing of a file is exempt: not
its footer, not the headers of its pages. That is why Parquet's own page checksums, which are
written too, are not enough, and DuckDB does not look at them.
"""

from __future__ import annotations

import io
import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from storage import files
from storage.errors import Damaged

BLOCK = 1 << 16
"""Bytes under one checksum; part of the format."""
_HEX = 8
"""Digits of one checksum."""


def checksums(path: Path) -> str:
    """The CRC-32 of each block of a file, each as eight hexadecimal digits."""
    with path.open("rb") as file:
        return "".join(f"{zlib.crc32(block):08x}" for block in iter(lambda: file.read(BLOCK), b""))


class StoredFile(NamedTuple):
    """A file as it was named when it was written."""

    path: Path
    size: int | None = None
    """Bytes; None where an earlier tirgen did not write it down."""
    crc32: str | None = None
    """See `checksums`; None likewise."""

    @classmethod
    def named(cls, path: Path, entry: dict[str, Any]) -> StoredFile:
        """As a line of a log or a manifest describes it."""
        return cls(path, entry.get("bytes"), entry.get("crc32"))

    @staticmethod
    def describe(path: Path) -> dict[str, Any]:
        """What to write down of a finished file."""
        return {"bytes": path.stat().st_size, "crc32": checksums(path)}

    @property
    def name(self) -> str:
        return self.path.name

    def check_present(self) -> None:
        """Raises Damaged where the file is missing, out of reach or of another size."""
        try:
            size = files.present(self.path)
        except OSError as error:
            raise Damaged(self.path, _reason(error)) from error
        if None not in (self.size, size) and size != self.size:
            raise Damaged(self.path, f"has {size:,} bytes instead of {self.size:,}")

    def open(self) -> CheckedFile:
        """To read from, verified block by block. Raises Damaged, as every read may."""
        self.check_present()
        return CheckedFile(self)


class CheckedFile(io.RawIOBase):
    """A stored file open for reading; each thread has its own position."""

    def __init__(self, stored: StoredFile) -> None:
        self._stored = stored
        try:
            self._descriptor = _opened(stored.path)
        except OSError as error:
            raise Damaged(stored.path, _reason(error)) from error
        self._size = os.fstat(self._descriptor).st_size
        self._here = threading.local()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(getattr(self._here, "position", 0))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._size}[whence]
        self._here.position = start + offset
        return start + offset

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes. Raises Damaged where they are not what was written."""
        start = self.tell()
        left = max(0, self._size - start)
        wanted = left if size is None or size < 0 else min(size, left)
        first = start // BLOCK * BLOCK
        blocks = os.pread(self._descriptor, _up(start + wanted) - first, first)
        self._verify(memoryview(blocks), first // BLOCK)
        self._here.position = start + wanted
        return blocks[start - first : start - first + wanted]

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _verify(self, blocks: memoryview, number: int) -> None:
        expected = self._stored.crc32
        if expected is None:
            return
        for start in range(0, len(blocks), BLOCK):
            place = (number + start // BLOCK) * _HEX
            found = f"{zlib.crc32(blocks[start : start + BLOCK]):08x}"
            if found != expected[place : place + _HEX]:
                raise Damaged(self._stored.path, "is not what was written: a checksum differs")


def _opened(path: Path) -> int:
    """A descriptor, of a file that may be removed from a mirror between its fetch and now."""
    files.fetch(path)
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY)
    return os.open(files.fetch(path), os.O_RDONLY)


def _up(position: int) -> int:
    return -(-position // BLOCK) * BLOCK


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return f"cannot be read: {(error.strerror or str(error)).lower()}"
