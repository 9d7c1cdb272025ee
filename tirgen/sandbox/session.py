"""A persistent interpreter per trajectory: variables survive from cell to cell.

A cell that ends its process, however that happened, leaves the session exactly at the last good
state, without replay; `branch` lets any number of continuations start from one state. Files in
the scratch directory are shared by all of them and are not rolled back. Not the paper's rule:
stateless is the default, and which it was belongs into the provenance.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from dataclasses import replace

from storage.records import Outcome
from tirgen.sandbox import kernel
from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.errors import ZygoteLost
from tirgen.sandbox.execution import assemble, infrastructure_fault
from tirgen.sandbox.fairness import FairSlots, turn
from tirgen.sandbox.flight import Flight, Landed
from tirgen.sandbox.forkgate import ForkGate
from tirgen.sandbox.jail import wire
from tirgen.sandbox.jail.wire import Cell
from tirgen.sandbox.link import Link
from tirgen.sandbox.outcome import Stop
from tirgen.sandbox.state import (
    ANSWER_SECONDS,
    State,
    receive,
    receive_with_descriptors,
    socket_pair,
)


class Home:
    """The jail of one session and of its branches; ends with the last of them, or the zygote."""

    def __init__(self, theirs: socket.socket, cpu_budget: float) -> None:
        self._theirs = theirs
        self._pidfd = -1
        self.gate: ForkGate | None = None
        self.sessions = 0
        self.ended: str | None = None
        """Why there is nothing to run cells in any more."""
        self.cpu_left = cpu_budget

    @property
    def descriptors(self) -> list[int]:
        return [self._theirs.fileno()]

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
        self.lost("the session's jail ended")

    def lost(self, reason: str) -> None:
        self.ended = self.ended or reason
        self._theirs.close()
        if self.gate is not None:
            self.gate.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def close(self) -> None:
        """End every process of the session; the kernel does it, through their pid namespace."""
        self.ended = self.ended or "the session was closed"
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


class Session:
    """Cells run one after another; `run` keeps the contract of the stateless sandbox."""

    def __init__(
        self, home: Home, state: State, slots: FairSlots, baseline: int, echo: bool
    ) -> None:
        self._home = home
        self._state = state
        self._slots = slots
        self._baseline = baseline
        self._order = Cell.RUN_AND_ECHO if echo else Cell.RUN
        self._one_at_a_time = asyncio.Lock()
        home.sessions += 1

    async def run(self, code: str, limits: Limits) -> Execution:
        """Run one cell on top of the state; keep what it made of it only if it lived on."""
        async with self._one_at_a_time, self._slots.hold(turn()):
            if self._home.ended:
                return infrastructure_fault(self._home.ended)
            if self._home.cpu_left <= 0:
                return _budget_spent()
            cpu = min(limits.cpu_seconds, self._home.cpu_left)
            execution = await self._run(code, replace(limits, cpu_seconds=cpu))
        self._home.cpu_left -= execution.cpu_ms / 1e3
        return execution

    async def _run(self, code: str, limits: Limits) -> Execution:
        flight = Flight(code, limits)
        following = await self._fork(flight)
        if following is None:
            reason = "the session's interpreter no longer forks: an earlier cell broke it"
            landed = await _land(flight, (1 << 8, 0.0, 0), 0.0, reason)
            return self._assemble(landed, limits)
        try:
            landed, lives_on = await self._fly(flight, following)
        except asyncio.CancelledError:
            following.release()
            raise
        execution = self._assemble(landed, limits)
        if lives_on:
            self._state, following = following, self._state
        following.release()
        return execution

    def _assemble(self, landed: Landed, limits: Limits) -> Execution:
        # earlier cells could tamper with what announces readiness: here it proves nothing
        known = replace(landed, ready=wire.READY)
        return assemble(known, self._baseline, limits, jailed=False)

    async def _fork(self, flight: Flight) -> State | None:
        """Have the state fork; the new process waits for our word."""
        ours, theirs = socket_pair()
        gate = self._home.gate
        assert gate is not None
        async with self._state.awake():
            gate.allow(self._state.pid)
            try:
                with theirs:
                    fds = [*flight.descriptors, theirs.fileno()]
                    socket.send_fds(self._state.socket, [self._order], fds)
                flight.handed_over()
                following = await State.arrive(ours)
            except OSError:
                following = None
        if following is None:
            ours.close()
        return following

    async def _fly(self, flight: Flight, following: State) -> tuple[Landed, bool]:
        """Let the cell run to its end; the facts, and whether its process lives on."""
        began = time.monotonic()
        flight.started(os.dup(following.pidfd))
        try:
            following.socket.send(Cell.GO)
            word, _ = await receive(following.socket, following.pidfd)
        except asyncio.CancelledError:
            flight.stop(Stop.CANCELLED)
            flight.lost("nobody waits for it any more")
            await asyncio.wait([flight.done])
            flight.done.exception()
            raise
        except OSError:
            word = b""
        wall = time.monotonic() - began
        used = kernel.usage(following.pidfd)
        if word[:1] == Cell.DONE and len(word) == 2 and used is not None and not flight.stopped:
            peak = kernel.peak_resident_kb(following.pid)
            following.freeze()
            landed = await _land(flight, (word[1] << 8, used.cpu, peak), wall)
            # what filled the memory would still be there
            return landed, word[1] != wire.MEMORY_ERROR_STATUS
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(following.pidfd, signal.SIGKILL)
        ended = await self._state.reap(following.inner_pid)
        return await _land(flight, ended, wall), False

    async def branch(self) -> Session:
        """Another session that stands where this one does; neither sees what the other runs."""
        self._state.users += 1
        echo = self._order == Cell.RUN_AND_ECHO
        return Session(self._home, self._state, self._slots, self._baseline, echo)

    async def close(self) -> None:
        """Give up this line of the session; with the last one its jail ends."""
        async with self._one_at_a_time:
            self._state.release()
            self._home.sessions -= 1
            if self._home.sessions == 0:
                self._home.close()


async def _land(
    flight: Flight, ended: tuple[int, float, int], wall: float, reason: str = ""
) -> Landed:
    status, cpu, peak = ended
    flight.landed(wire.Report(wire.Kind.EXITED, 0, status, wall, cpu, peak))
    landed = await flight.done
    landed.stderr.feed(reason.encode())
    return landed


def _budget_spent() -> Execution:
    reason = "the session has spent the CPU time it had for all its cells together"
    return replace(infrastructure_fault(reason), outcome=Outcome.TIMEOUT, stderr=reason)


async def open_session(
    link: Link, slots: FairSlots, memory_mb: int, cpu_budget: float, echo: bool
) -> Session:
    """A session in a jail of its own.

    Raises:
        ZygoteLost: its jail could not be built; trying again may help.
    """
    ours, theirs = socket_pair()
    theirs.setblocking(True)
    home = Home(theirs, cpu_budget)
    link.board(home, cpu_budget, memory_mb, session=True)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            word, fds, init = await receive_with_descriptors(ours)
    except TimeoutError:
        word, fds, init = b"no answer", [], 0
    if word != Cell.JAILED or not fds:
        ours.close()
        home.close()
        raise ZygoteLost(home.ended or word.decode(errors="replace"))
    home.gate = ForkGate(fds[0])
    home.gate.allow(init)
    state = await State.arrive(ours)
    if state is None:
        home.gate.close()
        ours.close()
        home.close()
        raise ZygoteLost("the session's first interpreter did not come up")
    state.freeze()
    return Session(home, state, slots, link.resident_bytes, echo)
