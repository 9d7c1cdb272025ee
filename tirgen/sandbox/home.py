"""The jail that one session and its branches live in: which processes are in it, how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from dataclasses import replace

from storage.records import Outcome
from tirgen.sandbox import kernel
from tirgen.sandbox.contract import Execution
from tirgen.sandbox.execution import infrastructure_fault
from tirgen.sandbox.forkgate import ForkGate
from tirgen.sandbox.jail import wire
from tirgen.sandbox.state import State

CROWDED = (
    "the session was ended: it held the most when all sessions together held more than they may"
)
BROKEN = "the session's interpreter no longer forks: an earlier cell broke it"


class Home:
    """Ends with the last of its sessions, or with the zygote."""

    def __init__(self, theirs: socket.socket, cpu_budget: float, memory_mb: int) -> None:
        self._theirs = theirs
        self._pidfd = -1
        self.gate: ForkGate | None = None
        self.sessions = 0
        self.held: dict[int, int] = {}
        """Bytes by pid of its states, which are every process in it but its init."""
        self.ended: str | None = None
        """Why there is nothing to run cells in any more."""
        self.broken = False
        """It ended because a cell tampered with what keeps the session."""
        self.crowded = False
        """It ended because sessions held too much, and this one the most."""
        self.over = asyncio.Event()
        self.cpu_left = cpu_budget
        """Seconds, for all cells together."""
        self.memory_mb = memory_mb
        """For each state."""

    @property
    def descriptors(self) -> list[int]:
        return [self._theirs.fileno()]

    @property
    def held_bytes(self) -> int:
        return sum(self.held.values())

    @property
    def is_gone(self) -> bool:
        return self._pidfd >= 0 and kernel.is_gone(self._pidfd)

    def handed_over(self) -> None:
        self._theirs.close()

    def started(self, pidfd: int) -> None:
        self._pidfd = pidfd
        if self.ended:
            self.close()

    def landed(self, report: wire.Report) -> None:
        # its init leaves by itself only when no state is left
        self.broken = self.broken or os.WIFEXITED(report.status)
        self.lost("the session's jail ended")

    def lost(self, reason: str) -> None:
        self.ended = self.ended or reason
        self.over.set()
        self._theirs.close()
        if self.gate is not None:
            self.gate.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def close(self, reason: str = "the session was closed") -> None:
        """End every process of the session; the kernel does it, through their pid namespace."""
        self.ended = self.ended or reason
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def break_up(self) -> None:
        """A process is in it that nobody ordered: end all of them."""
        self.broken = True
        self.close()

    def give_way(self) -> None:
        """End it for the memory that it holds."""
        self.crowded = True
        self.close(CROWDED)

    def release(self, state: State) -> None:
        """One user of the state less."""
        state.release()
        if not state.users:
            self.held.pop(state.pid, None)

    def why_ended(self) -> Execution:
        """What a cell gets that there is no interpreter for any more."""
        if self.crowded:
            return replace(infrastructure_fault(CROWDED), outcome=Outcome.OOM, stderr=CROWDED)
        if not self.broken:
            return infrastructure_fault(self.ended or "the session was closed")
        return replace(infrastructure_fault(BROKEN), outcome=Outcome.ERROR, stderr=BROKEN)
