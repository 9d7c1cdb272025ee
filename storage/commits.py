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
from typing import NamedTuple

from storage import files, names
from storage.checksums import StoredFile
from storage.damage import tell
from storage.errors import Damaged, InvalidName
from storage.records import SCHEMA_VERSION

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
        entry = {"file": name, "rows": rows, "schema": SCHEMA_VERSION, **StoredFile.describe(path)}
        files.append_line(self._log, json.dumps(entry))

    def committed(self) -> list[Commit]:
        """Every commit, oldest first. Raises Damaged where the log cannot be read."""
        commits, cut = read_log(self._log)
        if cut:
            told = (
                f"line {cut[0]} of {self._log} is not whole: a commit that was cut short, or damage"
            )
            tell(str(self._log), f"{told}; {Damaged(self._log, '').hint}")
        return commits


class Commit(NamedTuple):
    """One line of the log."""

    file: StoredFile
    rows: int
    schema: int
    """The schema version of the rows; 0 where an earlier tirgen did not write it down."""


def read_log(log: Path) -> tuple[list[Commit], list[int]]:
    """The commits that a log names, oldest first, and the numbers of the lines that name none.

    Raises Damaged where the log cannot be read.
    """
    try:
        lines = log.read_bytes().split(b"\n")
    except OSError as error:
        raise Damaged(log, f"cannot be read: {error.strerror}") from error
    commits: dict[str, Commit] = {}  # keeps its order, and a batch may be named twice
    cut = []
    for number, line in enumerate(lines, start=1):
        if commit := _parse(line, log.parent / BATCHES):
            commits.setdefault(commit.file.name, commit)
        elif line:
            cut.append(number)
    return list(commits.values()), cut


def _parse(line: bytes, batches: Path) -> Commit | None:
    """What a line names; None for a blank line or a fragment of one.

    A fragment never parses, because only the last byte closes the object.
    """
    try:
        entry = json.loads(line)
        stored = StoredFile.named(batches / names.safe(entry["file"], "batch"), entry)
        return Commit(stored, int(entry["rows"]), int(entry.get("schema", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, InvalidName):
        return None
