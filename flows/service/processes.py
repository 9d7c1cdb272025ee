"""Background processes that outlive the command that started them, and are found again by it.

A record names the process by its id and by when it started, so that a stale record never points
at a stranger that was given the same id.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from storage import files

STOP_SECONDS = 20.0
"""How long a process may take to end before it is killed."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process that was started here, leader of a group of its own."""

    name: str
    pid: int
    started: int
    """In clock ticks since the machine started, as the kernel tells it."""
    url: str = ""
    """Which server it is, or works for."""

    @property
    def lives(self) -> bool:
        return _started(self.pid) == self.started

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the process and its whole group, politely at first."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.lives and time.monotonic() < deadline:
            time.sleep(0.1)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return


class Processes:
    """The processes recorded in one folder."""

    def __init__(self, folder: Path) -> None:
        self._records = folder / "processes"
        self._logs = folder / "logs"

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], url: str
    ) -> Process:
        """Start a command in the background, its output in ``logs/NAME.log``."""
        files.make_folder(self._records)
        files.make_folder(self._logs)
        with self.log(name).open("ab") as log:
            output = log.fileno()
            pid = os.posix_spawn(
                command[0],
                list(command),
                {**os.environ, **environment},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
            )
        process = Process(name, pid, _started(pid) or 0, url)
        files.write_atomic(self._records / f"{name}.json", json.dumps(asdict(process)).encode())
        return process

    def find(self, name: str) -> Process | None:
        """The process of that name if it is alive."""
        return next((process for process in self.all() if process.name == name), None)

    def all(self) -> list[Process]:
        """Every recorded process that is alive."""
        found = (Process(**json.loads(path.read_bytes())) for path in self._records.glob("*.json"))
        return sorted((process for process in found if process.lives), key=lambda p: p.name)

    def forget(self, process: Process) -> None:
        (self._records / f"{process.name}.json").unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def _started(pid: int) -> int | None:
    """When a process started, None where it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
