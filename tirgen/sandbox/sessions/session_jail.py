"""The jail that one session and its branches live in, and the memory that all sessions hold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

from storage.records import Outcome
from tirgen.sandbox import kernel
from tirgen.sandbox.contract import Execution
from tirgen.sandbox.jail import wire
from tirgen.sandbox.result import infrastructure_fault, not_run
from tirgen.sandbox.sessions.fork_permits import ForkPermits
from tirgen.sandbox.sessions.state import State

OVER_MEMORY = (
    "the session was ended: all sessions together held more memory than they may, and this one "
    "the most"
)
BROKEN = "the session's interpreter no longer forks: an earlier cell broke it"


class SessionJail:
    """A job of the zygote. It ends with the last of its sessions, or with the zygote."""

    def __init__(self, theirs: socket.socket, cpu_budget: float, memory_mb: int) -> None:
        self._theirs = theirs
        self._pidfd = -1
        self.permits: ForkPermits | None = None
        self.sessions = 0
        self.held: dict[int, int] = {}
        """Bytes by pid of its states: every process in it but its init."""
        self.ended: str | None = None
        """Why no cell can run any more."""
        self.broken = False
        """It ended because a cell tampered with what keeps the session."""
        self.over_memory = False
        """It ended because sessions held too much memory, and this one the most."""
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
    def has_ended(self) -> bool:
        return self._pidfd >= 0 and kernel.has_ended(self._pidfd)

    def sent(self) -> None:
        self._theirs.close()

    def started(self, pidfd: int) -> None:
        self._pidfd = pidfd
        if self.ended:
            self.close()

    def finished(self, report: wire.Report) -> None:
        # its init exits by itself only when no state is left
        self.broken = self.broken or os.WIFEXITED(report.status)
        self.failed("the session's jail ended")

    def failed(self, reason: str) -> None:
        self.ended = self.ended or reason
        self.over.set()
        self._theirs.close()
        if self.permits is not None:
            self.permits.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def close(self, reason: str = "the session was closed") -> None:
        """End every process of the session; the kernel does it, through their pid namespace."""
        self.ended = self.ended or reason
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close_as_broken(self) -> None:
        """A process runs in it that the supervisor did not order: end all of them."""
        self.broken = True
        self.close()

    def close_for_memory(self) -> None:
        """End it for the memory that it holds."""
        self.over_memory = True
        self.close(OVER_MEMORY)

    def release(self, state: State) -> None:
        """The state has one user less."""
        state.release()
        if not state.users:
            self.held.pop(state.pid, None)

    def why_ended(self) -> Execution:
        """The result of a cell when no interpreter is left to run it."""
        if self.over_memory:
            return not_run(Outcome.OOM, OVER_MEMORY)
        if self.broken:
            return not_run(Outcome.ERROR, BROKEN)
        return infrastructure_fault(self.ended or "the session was closed")


class SessionMemory:
    """Bounds what all sessions of a sandbox hold between their cells: the largest one is ended.

    Each state counts with all its memory, pages shared with others included: they can become its
    own at any time. Not counted: the scratch directory, 16 MB at most for each session.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._jails: set[SessionJail] = set()

    def may_stay(
        self, jail: SessionJail, pid: int, baseline: int, replaces: int | None = None
    ) -> bool:
        """Note what a new state holds beyond `baseline` bytes; returns whether it may stay.

        Larger sessions are ended to make room for it. If it stays, the state `replaces` goes.
        """
        jail.held[pid] = max(0, kernel.held_bytes(pid) - baseline)
        before = jail.held.pop(replaces, 0) if replaces else 0
        if self._make_room(jail):
            return True
        if replaces:
            jail.held[replaces] = before
        return False

    def _make_room(self, jail: SessionJail) -> bool:
        self._jails = {jail, *(other for other in self._jails if not other.ended)}
        while sum(other.held_bytes for other in self._jails) > self._most:
            largest = max(self._jails, key=lambda other: other.held_bytes)
            if largest is jail:
                return False
            self._jails.discard(largest)
            largest.close_for_memory()
        return True
