"""The replies of unfinished trajectories, kept so that a later process does not pay for them again.

    RUN/journal/TRAJECTORY.jsonl     one line for each reply; removed when the row is committed

Each trajectory has its own file, so that nothing has to be merged or compacted, no two processes
share a file, and a file is read only when its trajectory is made again. A line is the CRC-32 of a
JSON pair, key and value, and the pair. Lines that are cut or damaged are ignored. No line waits for
the disk: the end of a process loses nothing, and a power cut loses replies but no rows.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from storage import files, names

JOURNAL = "journal"
"""Folder of a run with one file for each trajectory in progress."""
_SUFFIX = ".jsonl"
_CRC = 8
"""Digits of a line's checksum."""


class Journal:
    """The journal of one run; several processes may use it for different trajectories."""

    def __init__(self, run: Path) -> None:
        self._folder = run / JOURNAL

    def of(self, trajectory_id: str) -> KeptReplies:
        return KeptReplies(self._path(trajectory_id))

    def unfinished(self) -> set[str]:
        """The trajectories with kept replies."""
        files.update(self._folder)
        return {path.name.removesuffix(_SUFFIX) for path in self._folder.glob("*" + _SUFFIX)}

    def drop(self, trajectory_id: str) -> None:
        """Forget the replies of a trajectory whose row is committed. Raises OSError."""
        path = self._path(trajectory_id)
        path.unlink(missing_ok=True)
        files.changed(path)

    def clear(self) -> None:
        """Forget everything: no trajectory is in progress any more."""
        files.remove_folder(self._folder)

    def _path(self, trajectory_id: str) -> Path:
        return self._folder / (names.safe(trajectory_id, "trajectory id") + _SUFFIX)


class KeptReplies:
    """The kept replies of one trajectory: JSON values by key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any]:
        """The replies that are there whole. Raises OSError."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        return dict(pair for line in content.splitlines() if (pair := _pair(line)) is not None)

    def append(self, key: str, value: Any) -> None:
        """Keep a reply. Raises OSError, on a full disk say."""
        text = json.dumps([key, value], separators=(",", ":"))
        line = f"{zlib.crc32(text.encode()):0{_CRC}x} {text}"
        if not self._path.parent.is_dir():
            files.make_folder(self._path.parent)
        files.append_line(self._path, line, synced=False)


def _pair(line: bytes) -> tuple[str, Any] | None:
    """Key and value of a line; None where it is not what was written."""
    crc, _, text = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(text):
        return None
    key, value = json.loads(text)
    return key, value
