"""The local sandbox: any number of callers, as many snippets at once as there are cores.

Not covered: defects of the kernel behind the allowed system calls, and side channels through
shared caches; for hostile tenants put a virtual machine around the whole (docs/sandbox.md).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from storage.records import Outcome
from tirgen.sandbox import posix, selftest
from tirgen.sandbox.cgroups import Cgroup, NotDelegated, open_group
from tirgen.sandbox.client import PATIENCE_SECONDS, ZygoteClient
from tirgen.sandbox.contract import (
    Execution,
    Limits,
    SandboxUnavailable,
    SelfTestFailed,
    ZygoteFailed,
    ZygoteLost,
)
from tirgen.sandbox.interpreter import Interpreter, WrongInterpreter
from tirgen.sandbox.job import SnippetJob
from tirgen.sandbox.modes import IsolationMode, Layer, layers
from tirgen.sandbox.outcome import Stop
from tirgen.sandbox.pool import ZygotePool
from tirgen.sandbox.result import FINISHED, JobResult, infrastructure_fault, to_execution
from tirgen.sandbox.sessions.session import Session, open_session
from tirgen.sandbox.sessions.session_jail import SessionMemory
from tirgen.sandbox.slots import FairSlots, turn

VERSION = "zygote/1"
_ATTEMPTS = 3
_CORES_PER_ZYGOTE = 8
_END_SECONDS = 1.0
"""How long a program may take to end after its tests have."""
_OVER_ITS_LIMITS = (Outcome.TIMEOUT, Outcome.OOM, Outcome.INFRA_ERROR)


class LocalSandbox:
    """Runs snippets on this machine; an async context manager.

    On entering, it chooses the strongest mode that passes a self-test. `floor` is the weakest one
    accepted, `mode` asks for exactly one. At most `slots` snippets run at once. Between their
    cells, all sessions together hold at most `session_memory_mb`; the default is what the slots
    may use at the usual limit.
    """

    def __init__(
        self,
        floor: str = IsolationMode.BARE,
        *,
        mode: str | None = None,
        slots: int | None = None,
        session_memory_mb: int | None = None,
        python: str | None = None,
        preload: Sequence[str] = (),
        patience: float = PATIENCE_SECONDS,
        warmed: bool = True,
    ) -> None:
        """Raises ValueError for an unknown floor or mode, or less than one slot.

        `python` is the interpreter that runs snippets, by default ours; modules of `preload` are
        loaded before the first of them. Without `warmed` the sandbox opens three CPU-seconds
        earlier, and warms its libraries once some snippets show that this pays.
        """
        if slots is not None and slots < 1:
            raise ValueError(f"slots: at least one program must run at once, not {slots}")
        self._candidates = [IsolationMode(mode)] if mode else candidates(IsolationMode(floor))
        self._count = slots or _cores()
        self._slots = FairSlots(self._count)
        memory_mb = session_memory_mb or self._count * Limits().memory_mb
        self._session_memory = SessionMemory(memory_mb << 20)
        self._python, self._preload = python, tuple(preload)
        self._interpreter: Interpreter | None = None
        self._patience = patience
        self._warmed = warmed
        self._mode = self._candidates[0]
        self._pool: ZygotePool | None = None
        self._group: Cgroup | None = None
        self._why_no_group = ""

    @property
    def mode(self) -> str:
        return f"{VERSION} {self._mode}"

    @property
    def layers(self) -> list[Layer]:
        """What isolates a snippet here, and what each missing layer means."""
        hello = self._pool.hello if self._pool else {}
        return layers(self._mode, hello, self._why_no_group)

    @property
    def waiting(self) -> int:
        """Snippets in the queue."""
        return self._slots.waiting

    @property
    def zygote_restarts(self) -> int:
        """Because one died or hung."""
        return self._pool.restarts if self._pool else 0

    @property
    def zygote_retirements(self) -> int:
        """Because one was worn."""
        return self._pool.retirements if self._pool else 0

    async def __aenter__(self) -> Self:
        """Choose the mode.

        Raises:
            SandboxUnavailable: nothing at or above the floor works here, or `python` does not.
        """
        refusals = []
        try:
            self._interpreter = await asyncio.to_thread(
                Interpreter.find, self._python, self._preload
            )
        except WrongInterpreter as error:
            raise SandboxUnavailable(str(error)) from error
        for mode in self._candidates:
            try:
                await self._start(mode)
            except (ZygoteFailed, SelfTestFailed) as error:
                refusals.append(f"{mode}: {error}")
                await self._close()
            except BaseException:
                await self._close()
                raise
            else:
                return self
        raise SandboxUnavailable(
            f"no sandbox mode works on this machine ({'; '.join(refusals)}). Run on Linux 5.13 or "
            "later with Landlock, or ask by name for floor='posix', which contains nothing hostile."
        )

    async def _start(self, mode: IsolationMode) -> None:
        self._mode = mode
        assert self._interpreter is not None
        if mode is IsolationMode.POSIX:
            return
        try:
            self._group = open_group()
        except NotDelegated as reason:
            self._why_no_group = str(reason)
        count = -(-self._count // _CORES_PER_ZYGOTE)
        self._pool = ZygotePool(
            mode, self._interpreter, count, self._group, self._patience, self._warmed
        )
        await self._pool.start()
        has_sympy = "sympy" in self._pool.hello["libraries"]
        if problems := await selftest.problems(self.run, has_sympy):
            raise SelfTestFailed("; ".join(problems))

    async def _close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        if self._group is not None:
            self._group.close()
            self._group = None

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def run(self, code: str, limits: Limits) -> Execution:
        """Execute `code` when a slot is free; waiting for it counts against no limit.

        Slots go in turn to the trajectories that wait (tirgen.sandbox.slots). After an
        infrastructure fault it is tried again, then reported as infra_error.
        """
        return await self._try(lambda: self._attempt(code, limits))

    async def run_against(self, code: str, tests: str, limits: Limits) -> Execution:
        """Run two snippets with a socket between them, in one slot: see `Sandbox`."""
        return await self._try(lambda: self._attempt_both(code, tests, limits))

    async def _try(self, attempt: Callable[[], Awaitable[Execution]]) -> Execution:
        async with self._slots.hold(turn()):
            execution = await attempt()
            for _ in range(_ATTEMPTS - 1):
                if execution.outcome is not Outcome.INFRA_ERROR:
                    break
                execution = await attempt()
        return execution

    async def session(
        self, memory_mb: int = 1024, cpu_budget: float = 300.0, *, echo: bool = True
    ) -> Session:
        """A persistent interpreter; `cpu_budget` bounds the seconds of CPU of all its cells.

        Raises:
            SandboxUnavailable: sessions need namespaces, which this mode does not have.
            SessionsFull: the other sessions hold all the memory that sessions may.
            ZygoteLost: the zygote ended before the session was open.
            ZygoteFailed: and could not be started again.
        """
        if self._mode not in (IsolationMode.ROOT, IsolationMode.USERNS):
            raise SandboxUnavailable(
                f"sessions need pid namespaces, which the {self._mode} mode does not have; "
                "run as root or where user namespaces are allowed, or keep snippets stateless"
            )
        zygote = await self._pick()
        return await open_session(
            zygote, self._slots, self._session_memory, memory_mb, cpu_budget, echo
        )

    async def _attempt_both(self, code: str, tests: str, limits: Limits) -> Execution:
        one, other = (end.detach() for end in socket.socketpair())
        peers: list[SnippetJob] = []
        program = asyncio.create_task(self._attempt(code, limits, one, peers))
        judge = asyncio.create_task(self._attempt(tests, limits, other, peers))
        try:
            await asyncio.wait([program, judge], return_when=asyncio.FIRST_COMPLETED)
            if judge.done() and judge.result().outcome not in FINISHED:
                await asyncio.wait([program], timeout=_END_SECONDS)  # it may have ended first
            if program.done() and program.result().outcome in _OVER_ITS_LIMITS:
                return program.result()
            return await judge
        finally:
            program.cancel()
            judge.cancel()
            await asyncio.wait([program, judge])

    async def _attempt(
        self,
        code: str,
        limits: Limits,
        stdin: int | None = None,
        peers: list[SnippetJob] | None = None,
    ) -> Execution:
        """One attempt; it closes `stdin`."""
        if self._mode is IsolationMode.POSIX:
            assert self._interpreter is not None, "enter the sandbox first"
            result = await posix.execute(code, limits, self._interpreter, stdin)
            return to_execution(result, 0, limits, jailed=False)
        try:
            zygote = await self._pick()
            result = await _result(zygote.run(code, limits, stdin, peers))
        except (ZygoteLost, ZygoteFailed) as error:
            return infrastructure_fault(str(error))
        return to_execution(result, zygote.resident_bytes, limits, jailed=True)

    async def _pick(self) -> ZygoteClient:
        if self._pool is None:
            raise ZygoteLost("the sandbox is not open")
        return await self._pool.pick()


def candidates(floor: IsolationMode) -> list[IsolationMode]:
    """The modes to try, strongest first: none below the floor, `root` only as root."""
    allowed = [mode for mode in IsolationMode if mode.strength >= floor.strength]
    if not sys.platform.startswith("linux"):
        return [mode for mode in allowed if mode is IsolationMode.POSIX] or allowed
    return (
        allowed
        if os.geteuid() == 0
        else [mode for mode in allowed if mode is not IsolationMode.ROOT]
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


async def _result(job: SnippetJob) -> JobResult:
    """Wait for the end; when the caller is cancelled, its snippet ends before the slot is free."""
    try:
        return await asyncio.shield(job.done)
    except asyncio.CancelledError:
        job.stop(Stop.CANCELLED)
        await asyncio.wait([job.done])
        raise
