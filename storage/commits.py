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
from storage.damage import warn_once
from storage.errors import Damaged, InvalidName
from storage.records import SCHEMA_VERSION

LOG = "log.jsonl"
BATCHES = "batches"
_BEGINNING = b'{"file": "'


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
        with files.temporary_for(path) as temporary:
            write(temporary)
            files.place_new(temporary, path)
        entry = {"file": name, "rows": rows, "schema": SCHEMA_VERSION, **StoredFile.describe(path)}
        files.append_line(self._log, json.dumps(entry))

    def committed(self) -> list[Commit]:
        """Every commit, oldest first. Raises Damaged where the log is not what was written."""
        return commits_of(self._log)


class Commit(NamedTuple):
    """One line of the log."""

    file: StoredFile
    rows: int
    schema: int
    """The schema version of the rows; 0 where an earlier tirgen did not write it down."""


def commits_of(log: Path) -> list[Commit]:
    """The commits that a log names, oldest first; a line that was cut short is told of.

    Raises Damaged where the log is not what was written.
    """
    found = read_log(log)
    if found.damaged:
        raise Damaged(log, f"is not what was written in line {found.damaged[0]}")
    if found.cut:
        what = f"line {found.cut[0]} of {log} is cut short: what it committed is not counted"
        warn_once(str(log), f"{what}; {Damaged(log, '').hint}")
    return found.commits


class Log(NamedTuple):
    """What a log says."""

    commits: list[Commit]
    cut: list[int]
    """Numbers of lines that a killed writer, a full disk or damage left unfinished."""
    damaged: list[int]
    """Numbers of lines that no writer wrote so."""


def read_log(log: Path) -> Log:
    """All that a log says. Raises Damaged where it cannot be read."""
    try:
        lines = log.read_bytes().split(b"\n")
    except OSError as error:
        raise Damaged(log, f"cannot be read: {error.strerror}") from error
    commits: dict[str, Commit] = {}  # keeps its order, and a batch may be named twice
    cut: list[int] = []
    damaged: list[int] = []
    for number, line in enumerate(lines, start=1):
        if commit := _parse(line, log.parent / BATCHES):
            commits.setdefault(commit.file.name, commit)
        elif line:
            (cut if _is_fragment(line) else damaged).append(number)
    return Log(list(commits.values()), cut, damaged)


def _is_fragment(line: bytes) -> bool:
    """It is the beginning of a line, as a writer that was killed leaves it.

    Such a commit was never acknowledged. A line whose end is there, or as good as there, was.
    """
    begins = line.startswith(_BEGINNING[: len(line)]) and b"}" not in line
    as_good_as_whole = _parse(line[:-1] + b"}", Path())
    return begins and (as_good_as_whole is None or as_good_as_whole.file.crc32 is None)


def _parse(line: bytes, batches: Path) -> Commit | None:
    """What a line names; None for a blank line and for what is no whole line."""
    try:
        entry = json.loads(line)
        stored = StoredFile.named(batches / names.safe(entry["file"], "batch"), entry)
        return Commit(stored, int(entry["rows"]), int(entry.get("schema", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, InvalidName):
        return None
