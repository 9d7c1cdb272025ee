"""The commit protocol of live batches: a file becomes visible when the log names it.

A batch is written under a temporary name, synced, linked to its final name, and then named by one
line appended to `log.jsonl`. Readers see only what the log names. A killed process leaves at worst
a file that no line names, or a fragment of a line; both are ignored. A batch's name follows from
its content, so committing the same batch again changes nothing.

A merge (`storage.compaction`) is committed in the same way: its line also says which commits the
merged file contains, ``first`` to ``last``, and from then on it takes the place of their files.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from storage import files, names
from storage.checksums import StoredFile
from storage.damage import warn_once
from storage.errors import Damaged, InvalidName
from storage.records import SCHEMA_VERSION

LOG = "log.jsonl"
BATCHES = "batches"
_BEGINNING = b'{"file": "'


class Commit(NamedTuple):
    """A committed file."""

    file: StoredFile
    rows: int
    schema: int
    """The schema version of the rows; 0 in logs of an older tirgen."""
    first: int = 0
    """Position of the first commit in the file, counted from 0 in the order of the log."""
    last: int = 0
    """Position of the last one; the same unless the file was merged."""


class Commits:
    """The committed files of one folder, to which any number of processes append."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / LOG
        self._batches = folder / BATCHES
        files.make_folder(self._batches)
        if not self._log.exists():
            self._log.touch()

    def commit(self, name: str, rows: int, write: Callable[[Path], None]) -> None:
        """Let `write` produce the file `name`; when this returns, no crash can lose it."""
        append(self._batches / name, rows, write)

    def committed(self) -> list[Commit]:
        """The committed files, oldest first. Raises Damaged if the log was changed."""
        return read_commits(self._log).commits


def append(path: Path, rows: int, write: Callable[[Path], None], **more: str) -> None:
    """Write a file of batches and commit it; `more` becomes part of the log line."""
    with files.temporary_for(path) as temporary:
        write(temporary)
        files.place_new(temporary, path)
    line = {"file": path.name, "rows": rows, "schema": SCHEMA_VERSION}
    line |= StoredFile.describe(path) | more
    files.append_line(path.parent.parent / LOG, json.dumps(line))


def read_commits(path: Path) -> CommitLog:
    """A log without damage; a truncated line is warned about.

    Raises Damaged if the log was changed.
    """
    log = read_log(path)
    if log.damaged:
        raise Damaged(path, f"was changed in line {log.damaged[0]}")
    if log.cut:
        what = f"line {log.cut[0]} of {path} is cut short: what it committed is not counted"
        warn_once(str(path), f"{what}; {Damaged(path, '').hint}")
    return log


def read_log(path: Path) -> CommitLog:
    """All that a log says. Raises Damaged if it cannot be read."""
    log = CommitLog(path)
    log.update()
    return log


class CommitLog:
    """What a log says; `update` reads what was appended since."""

    def __init__(self, path: Path) -> None:
        self.commits: list[Commit] = []
        """The files to read, in the order of their commits."""
        self.replaced: dict[str, Commit] = {}
        """By name of a file that was merged, the merged file."""
        self.damaged: list[int] = []
        """Numbers of lines that no writer wrote."""
        self._path = path
        self._cut: list[int] = []
        self.names: list[str] = []
        """Of the files as they were committed, by position."""
        self._rows: list[int] = []
        """The same for their rows."""
        self._positions: dict[str, int] = {}
        self._offset = 0
        self._line = 0
        self._rest = b""

    @property
    def count(self) -> int:
        """The number of commits."""
        return len(self._rows)

    @property
    def cut(self) -> list[int]:
        """Numbers of lines that a killed writer, a full disk or damage left unfinished."""
        return [*self._cut, self._line + 1] if _is_fragment(self._rest) else self._cut

    def update(self) -> None:
        """Read the lines appended since the last call. Raises Damaged if that is impossible."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                content = log.read()
        except OSError as error:
            raise Damaged(self._path, f"cannot be read: {error.strerror}") from error
        *lines, rest = content.split(b"\n")
        for line in lines:
            self._line += 1
            self._read(line)
        self._offset += len(content) - len(rest)
        # The last line may still be written. If it is already complete, it counts now, and once.
        self._rest = rest if _parsed(rest) is None else b""
        if rest and not self._rest:
            self._read(rest)

    def after(self, position: int) -> Iterator[tuple[Commit, int]]:
        """The files with commits from a position on, and how many of their first rows to skip."""
        for commit in self.commits[bisect_left(self.commits, position, key=lambda c: c.last) :]:
            yield commit, sum(self._rows[commit.first : max(commit.first, position)])

    def _read(self, line: bytes) -> None:
        entry = _parsed(line)
        if entry is None:
            if line:
                (self._cut if _is_fragment(line) else self.damaged).append(self._line)
        elif "first" in entry:
            self._merge(entry)
        elif entry["file"] not in self._positions:  # a batch may be committed twice
            position = self._positions[entry["file"]] = len(self._rows)
            self._rows.append(entry["rows"])
            self.names.append(entry["file"])
            self.commits.append(self._commit(entry, position, position))

    def _merge(self, entry: dict[str, Any]) -> None:
        """Put a merged file in the place of its commits, unless another merge has replaced them."""
        first, last = (self._positions.get(entry[end], -1) for end in ("first", "last"))
        start = bisect_left(self.commits, first, key=lambda commit: commit.first)
        end = bisect_left(self.commits, last, key=lambda commit: commit.last)
        found = self.commits[start : end + 1]
        if found and (found[0].first, found[-1].last) == (first, last) and len(found) > 1:
            merged = self._commit(entry, first, last)
            self.replaced.update(dict.fromkeys((commit.file.name for commit in found), merged))
            self.commits[start : end + 1] = [merged]

    def _commit(self, entry: dict[str, Any], first: int, last: int) -> Commit:
        stored = StoredFile.named(self._path.parent / BATCHES / entry["file"], entry)
        return Commit(stored, entry["rows"], entry.get("schema", 0), first, last)


def _is_fragment(line: bytes) -> bool:
    """Whether it is the beginning of a line, as a killed writer leaves it.

    Such a commit was never acknowledged, unlike one whose line is complete or nearly so.
    """
    begins = bool(line) and line.startswith(_BEGINNING[: len(line)]) and b"}" not in line
    nearly_complete = _parsed(line[:-1] + b"}")
    return begins and (nearly_complete is None or nearly_complete.get("crc32") is None)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None for an empty or incomplete one."""
    try:
        entry = json.loads(line)
        names.safe(entry["file"], "batch")
        entry["rows"], entry["schema"] = int(entry["rows"]), int(entry.get("schema", 0))
        return entry if isinstance(entry, dict) else None
    except (ValueError, TypeError, KeyError, AttributeError, InvalidName):
        return None
