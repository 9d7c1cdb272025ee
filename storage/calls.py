"""What each call that works on a run or a training says of itself, for other processes to read.

    FOLDER/calls/PID-BEGAN.json     one file for each call, replaced every few seconds

A call that was killed leaves its last note, which does not say that it ended.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from storage import documents, files
from storage.damage import warn_ignored
from storage.errors import Damaged

CALLS = "calls"
"""Folder of a run with one small file for each call that worked on it."""
SECONDS_BETWEEN_NOTES = 2.0
"""A killed call loses at most this much of its working time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One process at work."""

    pid: int
    host: str
    began: str
    """UTC; shown to people, never used for decisions."""
    seconds: float
    """How long it has worked so far."""
    command: tuple[str, ...]
    """The words of its command line."""
    place: str
    """The folder that it was called from."""
    progress: dict[str, Any] = field(default_factory=dict)
    """How far it is, as JSON values."""
    ended: bool = False
    error: str | None = None
    """Why it ended before its work was done, in one sentence."""

    @property
    def key(self) -> tuple[str, int, str]:
        """Different for every call."""
        return (self.host, self.pid, self.began)


class CallNote:
    """The note of this process about one call."""

    def __init__(self, folder: Path, started: float | None = None) -> None:
        """`folder` is the run's; `started` is by the monotonic clock, by default now."""
        self._started = time.monotonic() if started is None else started
        began = datetime.now(UTC) - timedelta(seconds=time.monotonic() - self._started)
        self._began = began.isoformat(timespec="milliseconds")
        self._path = folder / CALLS / f"{os.getpid()}-{self._started}.json"
        self._written = -SECONDS_BETWEEN_NOTES

    @property
    def name(self) -> str:
        """Of this call, unique among those of its run."""
        return self._path.stem

    def is_of(self, call: Call) -> bool:
        """Whether the note that was read is the note of this process."""
        return call.key == (socket.gethostname(), os.getpid(), self._began)

    def update(self, progress: Callable[[], dict[str, Any]]) -> None:
        """Write how far the work is, unless that was written a moment ago."""
        if time.monotonic() - self._written >= SECONDS_BETWEEN_NOTES:
            self.write(progress())

    def write(
        self, progress: dict[str, Any], *, ended: bool = False, error: BaseException | None = None
    ) -> None:
        """Write how far the work is, or that it ended. Raises OSError."""
        self._written = time.monotonic()
        call = Call(
            pid=os.getpid(),
            host=socket.gethostname(),
            began=self._began,
            seconds=self._written - self._started,
            command=tuple(sys.argv),
            place=os.getcwd(),
            progress=progress,
            ended=ended,
            error=_sentence(error) if error else None,
        )
        files.make_folder(self._path.parent)
        files.note(self._path, documents.dump(asdict(call)))


def calls(folder: Path) -> list[Call]:
    """The calls that worked on the run of this folder, oldest first.

    A damaged note is left out and warned about: the work does not rest on it.
    """
    files.update(folder / CALLS)
    found = []
    for path in (folder / CALLS).glob("*.json"):
        try:
            note = documents.read(path)
        except Damaged as damage:
            warn_ignored(damage)
        else:
            found.append(Call(**{**note, "command": tuple(note["command"])}))
    return sorted(found, key=lambda call: call.began)


def _sentence(error: BaseException) -> str:
    """What an error says; of several at once, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, KeyboardInterrupt | CancelledError):
        return "interrupted"
    name = type(error).__name__
    text = " ".join(str(error).split())
    return f"{name}: {text}" if text else name
