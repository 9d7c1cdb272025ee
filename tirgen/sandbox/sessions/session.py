"""A persistent interpreter per trajectory: variables survive from cell to cell.

A cell that ends its process, for whatever reason, leaves the session exactly at the last good
state, without replay. `branch` lets any number of sessions continue from one state. They share the
files in the scratch directory, which are not rolled back. The paper's rule is stateless, which is
the default; the provenance of a trajectory must say which it was.
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
from tirgen.sandbox.client import ZygoteClient
from tirgen.sandbox.contract import Execution, Limits, SessionsFull, ZygoteLost
from tirgen.sandbox.jail import wire
from tirgen.sandbox.jail.wire import Cell
from tirgen.sandbox.job import SnippetJob
from tirgen.sandbox.outcome import Stop
from tirgen.sandbox.result import JobResult, infrastructure_fault, not_run, to_execution
from tirgen.sandbox.sessions.fork_permits import ForkPermits
from tirgen.sandbox.sessions.session_jail import BROKEN, SessionJail, SessionMemory
from tirgen.sandbox.sessions.state import (
    ANSWER_SECONDS,
    State,
    receive,
    receive_with_descriptors,
    socket_pair,
)
from tirgen.sandbox.slots import FairSlots, turn


class Session:
    """Cells run one after another; `run` keeps the contract of the stateless sandbox."""

    def __init__(
        self,
        jail: SessionJail,
        state: State,
        slots: FairSlots,
        memory: SessionMemory,
        baseline: int,
        echo: bool,
    ) -> None:
        self._jail = jail
        self._memory = memory
        self._state = state
        self._slots = slots
        self._baseline = baseline
        self._order = Cell.RUN_AND_ECHO if echo else Cell.RUN
        self._one_at_a_time = asyncio.Lock()
        jail.sessions += 1

    async def run(self, code: str, limits: Limits) -> Execution:
        """Run one cell on the state; its process becomes the new state unless it ends."""
        async with self._one_at_a_time, self._slots.hold(turn()):
            if self._jail.ended:
                return self._jail.why_ended()
            if self._jail.cpu_left <= 0:
                return _budget_spent()
            cpu = min(limits.cpu_seconds, self._jail.cpu_left)
            limits = replace(limits, cpu_seconds=cpu)
            try:
                job = SnippetJob(code, limits)
            except ZygoteLost as error:
                return infrastructure_fault(str(error))
            work = asyncio.create_task(self._run(job, limits))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                job.stop(Stop.CANCELLED)
                await asyncio.wait([work])
                raise

    async def _run(self, job: SnippetJob, limits: Limits) -> Execution:
        began = time.monotonic()
        following = await self._fork(job)
        if following is None:
            # its CPU is unknown: a state that does not answer may be using it
            result = await _finish(job, 1 << 8, time.monotonic() - began, 0, 0.0, BROKEN)
        else:
            result, lives_on = await self._run_cell(job, following, limits)
            if lives_on and not self._may_stay(following):
                killed = result.report._replace(status=signal.SIGKILL)
                result = replace(result, report=killed, stopped=Stop.SESSION_MEMORY)
            elif lives_on:
                self._state, following = following, self._state
            self._jail.release(following)
        self._jail.cpu_left -= result.report.cpu_seconds
        if kernel.has_ended(self._state.pidfd):  # perhaps all have; the reason comes later
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._jail.over.wait()
        if self._jail.ended:
            return self._jail.why_ended()
        # earlier cells can have tampered with the ready message: here it proves nothing
        result = replace(result, ready=wire.READY)
        return to_execution(result, self._baseline, limits, jailed=False)

    def _may_stay(self, following: State) -> bool:
        """Whether all sessions, with the new state, hold no more memory than they may."""
        replaces = self._state.pid if self._state.users == 1 else None
        return self._memory.may_stay(self._jail, following.pid, self._baseline, replaces)

    async def _fork(self, job: SnippetJob) -> State | None:
        """Have the state fork; the new process waits for GO.

        None if it did not. If it did, but another process than the new one answers, the session
        is ended: some process in it would use time that no cell was given.
        """
        ours, theirs = socket_pair()
        jail, permits = self._jail, self._jail.permits
        assert permits is not None
        async with self._state.awake():
            permits.permit(self._state.pid)
            try:
                with theirs:
                    fds = [*job.descriptors[:4], theirs.fileno()]  # a cell reads no stdin
                    socket.send_fds(self._state.socket, [self._order], fds)
                job.sent()
                following = await State.arrive(ours)
            except OSError:
                following = None
            forked = permits.withdraw(self._state.pid)
        is_new = following is not None and following.pid not in jail.held
        if forked and not is_new:
            jail.close_as_broken()
        if following is None:
            ours.close()
        elif forked and is_new:
            jail.held[following.pid] = 0
            return following
        else:
            following.release()
        return None

    async def _run_cell(
        self, job: SnippetJob, following: State, limits: Limits
    ) -> tuple[JobResult, bool]:
        """Let the cell run to its end; its result, and whether its process lives on."""
        began = time.monotonic()
        job.started(os.dup(following.pidfd))
        try:
            following.socket.send(Cell.GO)
            word, _ = await receive(following.socket, following.pidfd)
        except OSError:
            word = b""
        wall = time.monotonic() - began
        used = kernel.usage(following.pidfd)
        if word[:1] == Cell.DONE and len(word) == 2 and used is not None and not job.stopped:
            peak = kernel.peak_resident_kb(following.pid)
            following.freeze()
            result = await _finish(job, word[1] << 8, used.cpu, peak, wall)
            # after a MemoryError, what filled the memory would still be there
            return result, word[1] != wire.MEMORY_ERROR_STATUS
        await following.end()
        used = kernel.usage(following.pidfd)  # before the state reaps it
        status, peak = await self._state.reap(following.inner_pid)
        cpu = used.cpu if used is not None else limits.cpu_seconds
        most = (self._baseline >> 10) + (self._jail.memory_mb << 10)
        ended = signal.SIGKILL if job.stopped else status
        return await _finish(job, ended, cpu, min(peak, most), wall), False

    async def branch(self) -> Session:
        """Another session that starts from the same state; neither sees what the other runs."""
        self._state.users += 1
        echo = self._order == Cell.RUN_AND_ECHO
        return Session(self._jail, self._state, self._slots, self._memory, self._baseline, echo)

    async def close(self) -> None:
        """End this session; with the last of its branches, their jail ends."""
        async with self._one_at_a_time:
            self._jail.release(self._state)
            self._jail.sessions -= 1
            if self._jail.sessions == 0:
                self._jail.close()


async def _finish(
    job: SnippetJob, status: int, cpu: float, peak_kb: int, wall: float, reason: str = ""
) -> JobResult:
    job.finished(wire.Report(wire.ReportKind.EXITED, 0, status, wall, cpu, peak_kb))
    result = await job.done
    result.stderr.feed(reason.encode())
    return result


def _budget_spent() -> Execution:
    reason = "the session has spent the CPU time it had for all its cells together"
    return not_run(Outcome.TIMEOUT, reason)


async def open_session(
    zygote: ZygoteClient,
    slots: FairSlots,
    memory: SessionMemory,
    memory_mb: int,
    cpu_budget: float,
    echo: bool,
) -> Session:
    """A session in a new jail.

    Raises:
        SessionsFull: the other sessions hold all the memory that sessions may.
        ZygoteLost: its jail could not be built; trying again may help.
    """
    ours, theirs = socket_pair()
    theirs.setblocking(True)
    jail = SessionJail(theirs, cpu_budget, memory_mb)
    zygote.submit(jail, cpu_budget, memory_mb, session=True)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            word, fds, init = await receive_with_descriptors(ours)
    except TimeoutError:
        word, fds, init = b"no answer", [], 0
    if word != Cell.JAILED or not fds:
        ours.close()
        jail.close()
        raise ZygoteLost(jail.ended or word.decode(errors="replace"))
    jail.permits = ForkPermits(fds[0])
    jail.permits.permit(init)
    state = await State.arrive(ours)
    if state is None:
        jail.permits.close()
        ours.close()
        jail.close()
        raise ZygoteLost("the session's first interpreter did not come up")
    state.freeze()
    if not memory.may_stay(jail, state.pid, zygote.resident_bytes):
        jail.release(state)
        jail.close()
        raise SessionsFull("the sessions hold all the memory they may hold together; close some")
    return Session(jail, state, slots, memory, zygote.resident_bytes, echo)
