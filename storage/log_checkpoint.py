"""Checkpoints of a run's log: what it says up to a line, so that readers begin there.

    RUN/log.checkpoint    a checksum, a line of JSON, and two arrays

The compactor writes one now and then. A checkpoint that is damaged, or of another log, is left out:
it costs its readers time and never an answer.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage import files

NAME = "log.checkpoint"
EDGE = 4_096
"""Bytes of the log before the checkpoint's place, by which it is known to be of this log."""


class Checkpoint(NamedTuple):
    """What a log says up to a place in it."""

    offset: int
    """The place, in bytes."""
    line: int
    """The number of lines before it."""
    cut: list[int]
    """Numbers of unfinished lines."""
    commits: list[dict[str, Any]]
    """The files to read, as their log lines describe them, with ``first_at`` and ``last_at``."""
    replaced: dict[str, str]
    """By name of a merged file that is still there, the file that took its place."""
    rows: NDArray[np.int32]
    """Of each commit, in their order."""
    known: NDArray[np.uint64]
    """Digests of the names of all committed files, sorted."""


def digest(name: str) -> int:
    """64 bits that stand for the name of a file."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


def save(log: Path, found: Checkpoint) -> None:
    """Write the checkpoint of a log. Raises OSError."""
    document = {**found._asdict(), "before": _before(log, found.offset), "count": len(found.rows)}
    del document["rows"], document["known"]
    arrays = found.rows.astype("<i4").tobytes() + found.known.astype("<u8").tobytes()
    content = json.dumps(document).encode() + b"\n" + arrays
    files.write_atomic(log.with_name(NAME), f"{zlib.crc32(content):08x}\n".encode() + content)


def load(log: Path) -> Checkpoint | None:
    """The checkpoint of a log; None without one, or with one that is not to be trusted."""
    try:
        checksum, content = log.with_name(NAME).read_bytes().split(b"\n", 1)
        if int(checksum, 16) != zlib.crc32(content):
            return None
        text, arrays = content.split(b"\n", 1)
        document = json.loads(text)
        if document.pop("before") != _before(log, document["offset"]):
            return None
        size = 4 * document.pop("count")
        rows, known = np.frombuffer(arrays[:size], "<i4"), np.frombuffer(arrays[size:], "<u8")
        return Checkpoint(**document, rows=rows, known=known)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _before(log: Path, offset: int) -> int:
    """A checksum of the end of what lies before a place of the log. Raises ValueError."""
    start = max(0, offset - EDGE)
    with log.open("rb") as content:
        content.seek(start)
        read = content.read(offset - start)
    if len(read) != offset - start:
        raise ValueError(f"{log} is shorter than {offset} bytes")
    return zlib.crc32(read)
