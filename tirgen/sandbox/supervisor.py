"""The local sandbox: any number of callers, as many snippets at once as there are cores.

Not covered: defects of the kernel behind the allowed system calls, and side channels through
shared caches; for hostile tenants put a virtual machine around the whole (docs/sandbox.md).
"""

from __future__ import annotations

import asyncio
import os
import sys
from types import TracebackType
from typing import Self

from storage.records import Outcome
from tirgen.sandbox import posix, selftest
from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.errors import SandboxUnavailable, SelfTestFailed, ZygoteFailed, ZygoteLost
from tirgen.sandbox.execution import assemble, infrastructure_fault
from tirgen.sandbox.flight import Flight, Landed
from tirgen.sandbox.link import Link
from tirgen.sandbox.modes import Layer, Mode, layers
from tirgen.sandbox.outcome import Stop
from tirgen.sandbox.session import Session, open_session

__all__ = ["LocalSandbox", "SandboxUnavailable"]

VERSION = "zygote/1"
_ATTEMPTS = 3
_CORES_PER_ZYGOTE = 8


class LocalSandbox:
    """Runs snippets on this machine; an async context manager.

    On entering, the strongest mode that proves itself in a self-test is chosen; `floor` is the
    weakest one accepted, `mode` asks for exactly one. At most `slots` snippets run at once.
    """

    def __init__(
        self, floor: str = Mode.BARE, *, mode: str | None = None, slots: int | None = None
    ) -> None:
        self._candidates = [Mode(mode)] if mode else candidates(Mode(floor))
        self._count = slots or _cores()
        self._slots = asyncio.Semaphore(self._count)  # first come, first served
        self._mode = self._candidates[0]
        self._links: list[Link] = []
        self._repair = asyncio.Lock()

    @property
    def mode(self) -> str:
        return f"{VERSION} {self._mode}"

    @property
    def layers(self) -> list[Layer]:
        """What holds a snippet back here, and what each missing layer means."""
        return layers(self._mode, self._links[0].hello if self._links else {})

    async def __aenter__(self) -> Self:
        """Choose the mode.

        Raises:
            SandboxUnavailable: nothing at or above the floor works here.
        """
        refusals = []
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

    async def _start(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.POSIX:
            return
        wanted = -(-self._count // _CORES_PER_ZYGOTE)
        self._links = [await Link.start(mode)]
        self._links += await asyncio.gather(*(Link.start(mode) for _ in range(wanted - 1)))
        has_sympy = "sympy" in self._links[0].hello["libraries"]
        if problems := await selftest.problems(self.run, has_sympy):
            raise SelfTestFailed("; ".join(problems))

    async def _close(self) -> None:
        links, self._links = self._links, []
        await asyncio.gather(*(link.close() for link in links))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def run(self, code: str, limits: Limits) -> Execution:
        """Execute `code` when a slot is free; waiting for it counts against no limit.

        A fault of the machinery is met with another attempt, then reported as infra_error.
        """
        async with self._slots:
            execution = await self._attempt(code, limits)
            for _ in range(_ATTEMPTS - 1):
                if execution.outcome is not Outcome.INFRA_ERROR:
                    break
                execution = await self._attempt(code, limits)
        return execution

    async def session(
        self, memory_mb: int = 1024, cpu_budget: float = 300.0, *, echo: bool = True
    ) -> Session:
        """A persistent interpreter with limits of its own over all its cells together.

        Raises:
            SandboxUnavailable: sessions need namespaces, which this mode has not.
            ZygoteLost: the zygote ended before the session was open.
            ZygoteFailed: and could not be started again.
        """
        if self._mode not in (Mode.ROOT, Mode.USERNS):
            raise SandboxUnavailable(
                f"sessions need pid namespaces, which the {self._mode} mode has not; "
                "run as root or where user namespaces are allowed, or keep snippets stateless"
            )
        link = await self._healthy_link()
        return await open_session(link, self._slots, memory_mb, cpu_budget, echo)

    async def _attempt(self, code: str, limits: Limits) -> Execution:
        if self._mode is Mode.POSIX:
            return assemble(await posix.execute(code, limits), 0, limits, jailed=False)
        try:
            link = await self._healthy_link()
            landed = await _fly(link.launch(code, limits))
        except (ZygoteLost, ZygoteFailed) as error:
            return infrastructure_fault(str(error))
        return assemble(landed, link.resident_bytes, limits, jailed=True)

    async def _healthy_link(self) -> Link:
        """The least loaded zygote, after replacing those that died."""
        async with self._repair:
            for link in [link for link in self._links if not link.alive]:
                await self._replace(link)
        if not self._links:
            raise ZygoteLost("the sandbox was closed")
        return min(self._links, key=lambda link: link.load)

    async def _replace(self, dead: Link) -> None:
        fresh = await Link.start(self._mode)
        if dead not in self._links:  # closed meanwhile
            await fresh.close()
            return
        self._links[self._links.index(dead)] = fresh
        await dead.close()


def candidates(floor: Mode) -> list[Mode]:
    """The modes to try, strongest first: none below the floor, root's only as root."""
    allowed = [mode for mode in Mode if mode.strength >= floor.strength]
    if not sys.platform.startswith("linux"):
        return [mode for mode in allowed if mode is Mode.POSIX] or allowed
    return allowed if os.geteuid() == 0 else [mode for mode in allowed if mode is not Mode.ROOT]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


async def _fly(flight: Flight) -> Landed:
    """Wait for the end; a caller that goes away takes its snippet with it before the slot frees."""
    try:
        return await asyncio.shield(flight.done)
    except asyncio.CancelledError:
        flight.stop(Stop.CANCELLED)
        await asyncio.wait([flight.done])
        raise
