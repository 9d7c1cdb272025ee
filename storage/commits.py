"""The commit protocol of live batches: a file becomes visible when the log names it.

A batch is written under a temporary name, synced, linked to its final name, and then named by one
line appended to `log.jsonl`. Readers see only what the log names. A process killed at any instant
leaves at worst a file that no line names, or a fragment of a line, and both are ignored. A batch's
name follows from its content, so that committing the same batch again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from storage import files

LOG = "log.jsonl"
BATCHES = "batches"


class Commits:
    """The committed files of one folder, which any number of processes append to and read."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / LOG
        self._batches = folder / BATCHES
        files.make_folder(self._batches)
        if not self._log.exists():
            self._log.touch()

    def commit(self, name: str, rows: int, write: Callable[[Path], None]) -> None:
        """Have `write` produce the file `name`; when this returns, no crash can lose it."""
        path = self._batches / name
        with files.removed_on_failure(files.temporary_beside(path)) as temporary:
            write(temporary)
            files.place_new(temporary, path)
        files.append_line(self._log, json.dumps({"file": name, "rows": rows}))

    def committed(self) -> list[Path]:
        """Every committed file, oldest first."""
        names = (_parse(line) for line in self._log.read_bytes().split(b"\n"))
        # A dictionary, because it is a set that keeps its order: a batch may be named twice.
        return [self._batches / name for name in dict.fromkeys(names) if name is not None]


def _parse(line: bytes) -> str | None:
    """The file that a line of the log names, or None for a blank line or a fragment of one.

    A fragment never parses, because only the last byte closes the object.
    """
    try:
        name: str = json.loads(line)["file"]
    except (ValueError, TypeError, KeyError):
        return None
    return name
