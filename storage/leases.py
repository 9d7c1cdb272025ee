"""Leases: a named piece of work has one holder at a time, which sends a heartbeat.

    FOLDER/NAME.000007.json     the seventh holder of NAME; the highest number counts

A lease is taken by putting the next number into place, which only one process can do, also on a
shared file system or in a bucket. The holder rewrites its file every few seconds. A waiting process
measures with its own monotonic clock how long the file has not changed, so clock changes and
differing clocks do not matter. On the holder's machine its process is checked instead: the lease of
a process that has ended is free at once, that of a living process is not.

A holder that was replaced (its machine slept, its network was cut) finds a higher number than its
own and must stop: `Lease.check`.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from storage import documents, files
from storage.damage import warn_ignored
from storage.errors import Damaged, Unreachable

LEASES = "leases"
"""Folder with the leases of a run or a dataset."""
BEAT_SECONDS = 5.0
"""Time between two heartbeats of a holder."""
SILENCE_SECONDS = 30.0
"""After this time without a heartbeat a holder on another machine is replaced."""


class LeaseLost(Exception):
    """Another process has taken over the work; this one must stop. Its rows stay committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lease."""

    token: str
    """A unique name of this claim."""
    host: str
    pid: int
    since: str
    """UTC; shown to people, never used for decisions."""
    machine: str
    """Kernel and process namespace that `pid` belongs to; empty where unknown."""
    started: int
    """Start of the process in kernel ticks; a later process may have the same `pid`."""
    beats: int = 0
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"

    @property
    def is_dead(self) -> bool | None:
        """Whether its process has ended; None where that cannot be found out on this machine."""
        if not self.machine or self.machine != _machine():
            return None
        return _has_ended(self.pid, self.started)


class Lease:
    """A lease that is held until `release`; a thread sends the heartbeat."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.holder = holder
        self._path = path
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {path.name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `LeaseLost` if another process has taken over the lease."""
        folder, name, number = _parts(self._path)
        newest = _newest(folder, name, ago=BEAT_SECONDS)
        if newest is not None and newest.number > number:
            raise LeaseLost(f"{newest.holder} has taken over the work of this process")

    def release(self) -> None:
        """Free the lease for the next holder at once."""
        self._released.set()
        self._thread.join()
        with suppress(Unreachable):  # others take it after the silence
            self._write(replace(self.holder, released=True))

    def _beat(self) -> None:
        beats = 0
        while not self._released.wait(BEAT_SECONDS):
            beats += 1
            # The disk may be full now, or the network cut, and not so at the next heartbeat.
            with suppress(OSError, Unreachable):
                try:
                    files.update(self._path.parent)
                    self.check()
                except LeaseLost:
                    return
                self._write(replace(self.holder, beats=beats))

    def _write(self, holder: Holder) -> None:
        """Nothing happens if another process has taken over the lease and removed this file."""
        with suppress(LeaseLost):
            self.check()
            files.rewrite(self._path, documents.dump(asdict(holder)))


class Heartbeats:
    """How long others have been silent, by the clock of this process, whatever theirs say."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[object, float]] = {}
        """By name: the last note that was new, and when it was first seen."""

    def silence(self, name: Hashable, note: object) -> float:
        """Seconds since `name` was first seen with the note that it has now."""
        seen, since = self._seen.get(name, (None, 0.0))
        if seen != note:
            since = time.monotonic()
            self._seen[name] = (note, since)
        return time.monotonic() - since


class Claim:
    """A claim on a lease; `attempt` is repeated until the lease is granted."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._heartbeats = Heartbeats()

    def attempt(self) -> Lease | Holder:
        """The lease, or its current holder. Raises OSError if the folder cannot be written."""
        while True:
            newest = _newest(self._folder, self._name)
            if newest is not None and not self._is_over(newest.holder):
                return newest.holder
            if lease := self._take(newest.number + 1 if newest else 1):
                return lease

    def _take(self, number: int) -> Lease | None:
        """The lease under this number; None if another process was faster."""
        files.make_folder(self._folder)
        path = _path(self._folder, self._name, number)
        holder = _myself()
        with files.temporary_for(path) as temporary:
            temporary.write_bytes(documents.dump(asdict(holder)))
            if not files.place_new(temporary, path):
                return None
        newest = _newest(self._folder, self._name)
        if newest is None or newest.holder.token != holder.token:  # the number had been used before
            files.remove(path)
            return None
        for old in _numbers(self._folder, self._name):
            if old < number:
                files.remove(_path(self._folder, self._name, old))
        return Lease(path, holder)

    def _is_over(self, holder: Holder) -> bool:
        """Whether the holder has released the lease, has ended, or is silent for too long."""
        if holder.released:
            return True
        if (dead := holder.is_dead) is not None:
            return dead
        return self._heartbeats.silence(holder.token, holder) > SILENCE_SECONDS


def holders(folder: Path) -> dict[str, Holder]:
    """The holders of the leases of a folder, by name, without released ones.

    A holder may have ended since.
    """
    files.update(folder)
    found = {match[1] for path in folder.glob("*.json") if (match := _NAME.fullmatch(path.name))}
    newest = {name: held for name in sorted(found) if (held := _newest(folder, name))}
    return {name: held.holder for name, held in newest.items() if not held.holder.released}


class _Held(NamedTuple):
    number: int
    holder: Holder


_NAME = re.compile(r"(.+)\.(\d{6})\.json")


def _path(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.{number:06d}.json"


def _parts(path: Path) -> tuple[Path, str, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return path.parent, match[1], int(match[2])


def _numbers(folder: Path, name: str) -> list[int]:
    paths = folder.glob(f"{name}.[0-9][0-9][0-9][0-9][0-9][0-9].json")
    return sorted(_parts(path)[2] for path in paths)


def _newest(folder: Path, name: str, ago: float = 0.0) -> _Held | None:
    """The newest holder, as far as it was to be seen `ago` seconds ago or later."""
    files.update(folder, ago)
    while numbers := _numbers(folder, name):
        with suppress(FileNotFoundError):  # a later holder has removed it
            return _Held(numbers[-1], _read(_path(folder, name, numbers[-1])))
    return None


def _read(path: Path) -> Holder:
    """The holder that a file describes; an unknown one where the file was changed.

    A holder that lives writes the file again with its next heartbeat; one that does not is
    replaced after its silence.
    """
    try:
        return Holder(**documents.read(path))
    except Damaged as damage:
        warn_ignored(damage)
        return Holder(token=path.name, host="unknown", pid=0, since="?", machine="", started=0)


def _myself() -> Holder:
    pid, machine = os.getpid(), _machine()
    return Holder(
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=pid,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        started=_stat(pid).started if machine else 0,
    )


@cache
def _machine() -> str:
    """The boot id of the kernel and the process namespace; empty without ``/proc``."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{kernel}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


class _Stat(NamedTuple):
    state: str
    started: int


def _stat(pid: int) -> _Stat:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return _Stat(fields[0], int(fields[19]))


def _has_ended(pid: int, started: int) -> bool | None:
    """Whether the process with this id and start has ended; None if it cannot be seen."""
    try:
        found = _stat(pid)
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return None
    return found.state in "ZX" or found.started != started
