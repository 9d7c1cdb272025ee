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
from tirgen.sandbox.errors import SessionsFull, ZygoteLost
from tirgen.sandbox.execution import assemble, infrastructure_fault
from tirgen.sandbox.fairness import FairSlots, turn
from tirgen.sandbox.flight import Flight, Landed
from tirgen.sandbox.forkgate import ForkGate
from tirgen.sandbox.holdings import Holdings
from tirgen.sandbox.home import BROKEN, Home
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


class Session:
    """Cells run one after another; `run` keeps the contract of the stateless sandbox."""

    def __init__(
        self,
        home: Home,
        state: State,
        slots: FairSlots,
        holdings: Holdings,
        baseline: int,
        echo: bool,
    ) -> None:
        self._home = home
        self._holdings = holdings
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
                return self._home.why_ended()
            if self._home.cpu_left <= 0:
                return _budget_spent()
            cpu = min(limits.cpu_seconds, self._home.cpu_left)
            limits = replace(limits, cpu_seconds=cpu)
            try:
                flight = Flight(code, limits)
            except ZygoteLost as error:
                return infrastructure_fault(str(error))
            work = asyncio.create_task(self._run(flight, limits))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                flight.stop(Stop.CANCELLED)
                await asyncio.wait([work])
                raise

    async def _run(self, flight: Flight, limits: Limits) -> Execution:
        began = time.monotonic()
        following = await self._fork(flight)
        if following is None:
            # its CPU is unknown: a state that does not answer may be spending it
            landed = await _land(flight, 1 << 8, time.monotonic() - began, 0, 0.0, BROKEN)
        else:
            landed, lives_on = await self._fly(flight, following, limits)
            if lives_on and not self._may_stay(following):
                killed = landed.report._replace(status=signal.SIGKILL)
                landed = replace(landed, report=killed, stopped=Stop.CROWDED)
            elif lives_on:
                self._state, following = following, self._state
            self._home.release(following)
        self._home.cpu_left -= landed.report.cpu_seconds
        if kernel.is_gone(self._state.pidfd):  # and perhaps all the others: why, comes later
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._home.over.wait()
        if self._home.ended:
            return self._home.why_ended()
        # earlier cells could tamper with what announces readiness: here it proves nothing
        known = replace(landed, ready=wire.READY)
        return assemble(known, self._baseline, limits, jailed=False)

    def _may_stay(self, following: State) -> bool:
        """Whether the new state leaves all sessions within what they may hold together."""
        replaces = self._state.pid if self._state.users == 1 else None
        return self._holdings.weigh(self._home, following.pid, self._baseline, replaces)

    async def _fork(self, flight: Flight) -> State | None:
        """Have the state fork; the new process waits for our word.

        None where it did not. Where it did, but another process than the new one answers, the
        session is at its end: something in it would use time that nobody gave it.
        """
        ours, theirs = socket_pair()
        home, gate = self._home, self._home.gate
        assert gate is not None
        async with self._state.awake():
            gate.allow(self._state.pid)
            try:
                with theirs:
                    fds = [*flight.descriptors[:4], theirs.fileno()]  # a cell reads no stdin
                    socket.send_fds(self._state.socket, [self._order], fds)
                flight.handed_over()
                following = await State.arrive(ours)
            except OSError:
                following = None
            forked = gate.withdraw(self._state.pid)
        is_new = following is not None and following.pid not in home.held
        if forked and not is_new:
            home.break_up()
        if following is None:
            ours.close()
        elif forked and is_new:
            home.held[following.pid] = 0
            return following
        else:
            following.release()
        return None

    async def _fly(self, flight: Flight, following: State, limits: Limits) -> tuple[Landed, bool]:
        """Let the cell run to its end; the facts, and whether its process lives on."""
        began = time.monotonic()
        flight.started(os.dup(following.pidfd))
        try:
            following.socket.send(Cell.GO)
            word, _ = await receive(following.socket, following.pidfd)
        except OSError:
            word = b""
        wall = time.monotonic() - began
        used = kernel.usage(following.pidfd)
        if word[:1] == Cell.DONE and len(word) == 2 and used is not None and not flight.stopped:
            peak = kernel.peak_resident_kb(following.pid)
            following.freeze()
            landed = await _land(flight, word[1] << 8, used.cpu, peak, wall)
            # what filled the memory would still be there
            return landed, word[1] != wire.MEMORY_ERROR_STATUS
        await following.end()
        used = kernel.usage(following.pidfd)  # before the state forgets it
        status, peak = await self._state.reap(following.inner_pid)
        cpu = used.cpu if used is not None else limits.cpu_seconds
        most = (self._baseline >> 10) + (self._home.memory_mb << 10)
        ended = signal.SIGKILL if flight.stopped else status
        return await _land(flight, ended, cpu, min(peak, most), wall), False

    async def branch(self) -> Session:
        """Another session that stands where this one does; neither sees what the other runs."""
        self._state.users += 1
        echo = self._order == Cell.RUN_AND_ECHO
        return Session(self._home, self._state, self._slots, self._holdings, self._baseline, echo)

    async def close(self) -> None:
        """Give up this line of the session; with the last one its jail ends."""
        async with self._one_at_a_time:
            self._home.release(self._state)
            self._home.sessions -= 1
            if self._home.sessions == 0:
                self._home.close()


async def _land(
    flight: Flight, status: int, cpu: float, peak_kb: int, wall: float, reason: str = ""
) -> Landed:
    flight.landed(wire.Report(wire.Kind.EXITED, 0, status, wall, cpu, peak_kb))
    landed = await flight.done
    landed.stderr.feed(reason.encode())
    return landed


def _budget_spent() -> Execution:
    reason = "the session has spent the CPU time it had for all its cells together"
    return replace(infrastructure_fault(reason), outcome=Outcome.TIMEOUT, stderr=reason)


async def open_session(
    link: Link,
    slots: FairSlots,
    holdings: Holdings,
    memory_mb: int,
    cpu_budget: float,
    echo: bool,
) -> Session:
    """A session in a jail of its own.

    Raises:
        SessionsFull: the others hold all the memory that sessions may.
        ZygoteLost: its jail could not be built; trying again may help.
    """
    ours, theirs = socket_pair()
    theirs.setblocking(True)
    home = Home(theirs, cpu_budget, memory_mb)
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
    if not holdings.weigh(home, state.pid, link.resident_bytes):
        home.release(state)
        home.close()
        raise SessionsFull("sessions hold all the memory that they may have together; close some")
    return Session(home, state, slots, holdings, link.resident_bytes, echo)
