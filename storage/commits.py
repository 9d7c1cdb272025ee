"""The commit protocol of live batches: a file becomes visible when the log names it.

A batch is written under a temporary name, synced, linked to its final name, and then named by one
line appended to `log.jsonl`. Readers see only what the log names. A killed process leaves at worst
a file that no line names, or a fragment of a line; both are ignored. A batch's name follows from
its content, so committing the same batch again changes nothing.

A merge (`storage.compaction`) is committed in the same way: its line also says which commits the
merged file contains, ``first`` to ``last``, and from then on it takes the place of their files.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage import documents, files, log_checkpoint, names
from storage.checksums import StoredFile
from storage.damage import warn_once
from storage.errors import Damaged, InvalidName
from storage.log_checkpoint import Checkpoint
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
    first: int
    """Position of the first commit in the file, counted from 0 in the order of the log."""
    last: int
    """Position of the last one; the same unless the file was merged."""
    names: tuple[str, str]
    """Of the files that were committed first and last."""


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
    files.append_line(path.parent.parent / LOG, documents.dump(line).decode())


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


def read_log(path: Path, *, whole: bool = False) -> CommitLog:
    """All that a log says; `whole` reads every line again, to check it.

    Raises Damaged if it cannot be read.
    """
    log = CommitLog(path, whole=whole)
    log.update()
    return log


class CommitLog:
    """What a log says; `update` reads what was appended since.

    It begins with the log's checkpoint if there is one (`storage.log_checkpoint`).
    """

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        """`whole` begins with the first line."""
        self.commits: list[Commit] = []
        """The files to read, in the order of their commits."""
        self.replaced: dict[str, Commit] = {}
        """By name of a file that was merged, the merged file."""
        self.damaged: list[int] = []
        """Numbers of lines that no writer wrote."""
        self._path = path
        self._cut: list[int] = []
        self._rows = array("i")
        """Of each commit, by position."""
        self._ends: dict[str, int] = {}
        """By name of the first and the last commit in each of `commits`, its position."""
        self._known: set[int] = set()
        """Digests of the names of committed files since the checkpoint."""
        self._older: NDArray[np.uint64] = np.empty(0, np.uint64)
        """The same up to the checkpoint, sorted."""
        self._offset = 0
        self._line = 0
        self._rest = b""
        self._saved = 0
        if not whole and (found := log_checkpoint.load(path)):
            self._begin_with(found)

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
        files.update(self._path)
        try:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                content = log.read()
        except OSError as error:
            raise Damaged(self._path, f"cannot be read: {error.strerror}") from error
        *lines, rest = content.split(b"\n")
        for line in lines:
            self._line += 1
            self.take(line)
        self._offset += len(content) - len(rest)
        # The last line may still be written. If it is already complete, it counts now, and once.
        self._rest = rest if _parsed(rest) is None else b""
        if rest and not self._rest:
            self.take(rest)

    def after(self, position: int) -> Iterator[tuple[Commit, int]]:
        """The files with commits from a position on, and how many of their first rows to skip."""
        for commit in self.commits[bisect_left(self.commits, position, key=lambda c: c.last) :]:
            yield commit, sum(self._rows[commit.first : max(commit.first, position)])

    def save_checkpoint(self, least: int) -> None:
        """Write a checkpoint if there are at least so many commits since the last one.

        A log with damage gets none. Raises OSError.
        """
        if self.count - self._saved < least or self.damaged:
            return
        known = np.fromiter(self._known, np.uint64, len(self._known))
        there = {path.name for path in (self._path.parent / BATCHES).iterdir()}
        found = Checkpoint(
            offset=self._offset,
            line=self._line,
            cut=self._cut,
            commits=[_described(commit) for commit in self.commits],
            replaced={old: new.file.name for old, new in self.replaced.items() if old in there},
            rows=np.array(self._rows, np.int32),
            known=np.sort(np.concatenate([self._older, known])),
        )
        log_checkpoint.save(self._path, found)
        self._saved = self.count

    def _begin_with(self, found: Checkpoint) -> None:
        self._offset, self._line, self._cut = found.offset, found.line, found.cut
        self._rows.frombytes(found.rows.astype(np.intc).tobytes())
        self._older, self._saved = found.known, len(found.rows)
        for entry in found.commits:
            self._add(self._commit(entry, entry["first_at"], entry["last_at"], entry["names"]))
        merged = {name: self._commit({**_GONE, "file": name}, 0, 0, ("", ""))
                  for name in found.replaced.values()}  # fmt: skip
        merged |= {commit.file.name: commit for commit in self.commits}
        self.replaced = {old: merged[name] for old, name in found.replaced.items()}

    def take(self, line: bytes) -> None:
        """Take in one line of the log."""
        entry = _parsed(line)
        if entry is None:
            if line:
                (self._cut if _is_fragment(line) else self.damaged).append(self._line)
        elif "first" in entry:
            self._merge(entry)
        elif not self._has(digest := log_checkpoint.digest(entry["file"])):  # or committed twice
            position, name = len(self._rows), entry["file"]
            self._known.add(digest)
            self._rows.append(entry["rows"])
            self._add(self._commit(entry, position, position, (name, name)))

    def _has(self, digest: int) -> bool:
        if digest in self._known:
            return True
        place = int(np.searchsorted(self._older, np.uint64(digest))) if len(self._older) else 0
        return place < len(self._older) and int(self._older[place]) == digest

    def _add(self, commit: Commit) -> None:
        self.commits.append(commit)
        self._ends[commit.names[0]] = commit.first
        self._ends[commit.names[1]] = commit.last

    def _merge(self, entry: dict[str, Any]) -> None:
        """Put a merged file in the place of its commits, unless another merge has replaced them."""
        first, last = (self._ends.get(entry[end], -1) for end in ("first", "last"))
        start = bisect_left(self.commits, first, key=lambda commit: commit.first)
        end = bisect_left(self.commits, last, key=lambda commit: commit.last)
        found = self.commits[start : end + 1]
        if found and (found[0].first, found[-1].last) == (first, last) and len(found) > 1:
            merged = self._commit(entry, first, last, (entry["first"], entry["last"]))
            self.replaced.update(dict.fromkeys((commit.file.name for commit in found), merged))
            self.commits[start : end + 1] = [merged]
            for name in (name for commit in found for name in commit.names):
                if name not in merged.names:
                    self._ends.pop(name, None)

    def _commit(self, entry: dict[str, Any], first: int, last: int, names: Sequence[str]) -> Commit:
        stored = StoredFile.named(self._path.parent / BATCHES / entry["file"], entry)
        begins, ends = names
        return Commit(stored, entry["rows"], entry.get("schema", 0), first, last, (begins, ends))


_GONE: dict[str, Any] = {"rows": 0}
"""Stands for a merged file that was merged again."""


def _described(commit: Commit) -> dict[str, Any]:
    """A file as a log line describes it, and its place."""
    file, rows, schema, first, last, names = commit
    stored = {"bytes": file.size, "crc32": file.crc32}
    place = {"first_at": first, "last_at": last, "names": names}
    return {"file": file.name, "rows": rows, "schema": schema, **stored, **place}


def _is_fragment(line: bytes) -> bool:
    """Whether it is the beginning of a line, as a killed writer leaves it.

    Such a commit was never acknowledged, unlike one whose line is complete or nearly so.
    """
    begins = bool(line) and line.startswith(_BEGINNING[: len(line)]) and b"}" not in line
    nearly_complete = f'"{documents.KEY}": "'.encode() in line and _parsed(line[:-1] + b"}")
    return begins and not nearly_complete


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None for an empty, incomplete or changed one."""
    try:
        entry = documents.parse(line)
        names.safe(entry["file"], "batch")
        entry["rows"], entry["schema"] = int(entry["rows"]), int(entry.get("schema", 0))
        return entry
    except (ValueError, TypeError, KeyError, InvalidName):
        return None
