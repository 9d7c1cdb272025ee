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
from tirgen.sandbox.flight import ABSURD_OUTPUT, Flight, Landed
from tirgen.sandbox.jail.wire import READY
from tirgen.sandbox.link import Link
from tirgen.sandbox.modes import Layer, Mode, layers
from tirgen.sandbox.outcome import Facts, Stop, judge

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

    async def _attempt(self, code: str, limits: Limits) -> Execution:
        if self._mode is Mode.POSIX:
            return _execution(await posix.execute(code, limits), 0, limits, jailed=False)
        try:
            link = await self._healthy_link()
            landed = await _fly(link.launch(code, limits))
        except (ZygoteLost, ZygoteFailed) as error:
            return _infrastructure_fault(str(error))
        return _execution(landed, link.resident_bytes, limits, jailed=True)

    async def _healthy_link(self) -> Link:
        """The least loaded zygote, after replacing those that died."""
        async with self._repair:
            for index, link in enumerate(self._links):
                if not link.alive:
                    self._links[index] = await Link.start(self._mode)
                    await link.close()
        return min(self._links, key=lambda link: link.load)


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


def _execution(landed: Landed, baseline: int, limits: Limits, *, jailed: bool) -> Execution:
    report, stdout, stderr = landed.report, landed.stdout, landed.stderr
    facts = Facts(
        wait_status=report.status,
        jailed=jailed,
        ready=landed.ready == READY,
        stopped=landed.stopped,
        printed=bool(stdout.text().strip()),
        cpu_seconds=report.cpu_seconds,
        peak_memory_bytes=max(0, (report.peak_rss_kb << 10) - baseline),
    )
    if not facts.ready:
        return _infrastructure_fault(landed.ready.decode(errors="replace") or "died in its jail")
    return Execution(
        outcome=judge(facts, limits),
        stdout=stdout.text(),
        stderr=stderr.text() + _why_killed(landed),
        exit_code=facts.exit_code,
        wall_ms=report.wall_seconds * 1e3,
        cpu_ms=report.cpu_seconds * 1e3,
        peak_memory_mb=facts.peak_memory_bytes / (1 << 20),
        truncated=stdout.truncated or stderr.truncated,
    )


def _why_killed(landed: Landed) -> str:
    """The one line of ours in a stderr: without it an endless printer looks like a crash."""
    if landed.stopped is not Stop.OUTPUT:
        return ""
    return f"\nKilled: it printed more than {ABSURD_OUTPUT >> 20} MB.\n"


def _infrastructure_fault(reason: str) -> Execution:
    return Execution(
        outcome=Outcome.INFRA_ERROR,
        stdout="",
        stderr=f"sandbox: {reason}",
        exit_code=None,
        wall_ms=0.0,
        cpu_ms=0.0,
        peak_memory_mb=0.0,
        truncated=False,
    )
