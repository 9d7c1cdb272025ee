"""Background processes that outlive the command that started them; later commands find them.

A record names the process by its id and its start time, so a stale record never points at
another process that was given the same id.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from storage import documents, files
from tirgen.process import end_tree, start_time

STOP_SECONDS = 20.0
"""How long a process may take to end before it is killed."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process that was started here, leader of a group of its own."""

    name: str
    pid: int
    started: int
    """As `tirgen.process.start_time` says."""
    url: str = ""
    """Which server it is, or works for."""

    @property
    def lives(self) -> bool:
        return start_time(self.pid) == self.started

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the process and all that it started, with SIGTERM at first; SIGKILL after that."""
        if self.lives:
            end_tree(self.pid, seconds, lambda: not self.lives)


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
        process = Process(name, pid, start_time(pid) or 0, url)
        files.write_atomic(self._records / f"{name}.json", documents.dump(asdict(process)))
        return process

    def find(self, name: str) -> Process | None:
        """The process of that name if it is alive."""
        return next((process for process in self.all() if process.name == name), None)

    def all(self) -> list[Process]:
        """Every recorded process that is alive. Raises Damaged where a record was changed."""
        found = (Process(**documents.read(path)) for path in self._records.glob("*.json"))
        return sorted((process for process in found if process.lives), key=lambda p: p.name)

    def forget(self, process: Process) -> None:
        (self._records / f"{process.name}.json").unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"
