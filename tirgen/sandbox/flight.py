"""One snippet in flight, as the supervisor sees it: its pipes, its deadline, its end.

It ends when the kernel says the process ended, not when its pipes close: a snippet may close
stdout early, and nothing it does can keep the call open.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
from dataclasses import dataclass, replace

from tirgen.sandbox import kernel
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.errors import ZygoteLost
from tirgen.sandbox.jail import wire
from tirgen.sandbox.outcome import Stop
from tirgen.sandbox.output import HeadAndTail
from tirgen.sandbox.scratch import Scratch, Scratches

ABSURD_OUTPUT = 8 << 20
"""Bytes in one stream after which a snippet is killed: it prints without end."""
MOST_THREADS = 256
"""Of one snippet: each costs kernel memory that no limit of the process counts."""
MOST_PAGE_TABLES = 64 << 20
"""Bytes, likewise: one used page in each gigabyte of addresses costs twice its size again."""
SHORTEST = 0.1
"""Seconds; a limit below this would end before the jail is built."""
STARVATION = 10
STARVATION_SECONDS = 60.0
"""Given up as an infrastructure fault when it has waited for a core for both: this many times its
wall limit, and this long."""
_CLOCK_SLACK = 0.005
"""Seconds; looking again for less is not worth it."""
_SECOND_LOOK = 0.02
"""Seconds between two looks of which the second tells running from waiting."""
_CHUNK = 1 << 16
_READ_SECONDS, _IDLE_READ_SECONDS = 0.01, 0.04
"""How often a snippet is looked after while it prints, and at most how seldom while it does not."""
_PIPE_CHUNKS = 16
"""Reads that empty any pipe at the end; no more, for something else might still be writing."""


@dataclass(frozen=True, slots=True)
class Landed:
    """Everything known when a flight is over."""

    report: wire.Report
    ready: bytes
    stopped: Stop | None
    stdout: HeadAndTail
    stderr: HeadAndTail


class Flight:
    """Owns every descriptor of one execution until `done` resolves."""

    def __init__(
        self,
        code: str,
        limits: Limits,
        stdin: int | None = None,
        crew: list[Flight] | None = None,
        scratches: Scratches | None = None,
    ) -> None:
        """`stdin` is a descriptor that becomes ours; without one the snippet reads nothing.

        Those of one `crew` wait for each other: when one waits for a core, none is late.

        Raises ZygoteLost where this process may open nothing more.
        """
        self._loop = asyncio.get_running_loop()
        self._limits = replace(
            limits,
            cpu_seconds=max(SHORTEST, limits.cpu_seconds),
            wall_seconds=max(SHORTEST, limits.wall_seconds),
        )
        self._stopped: Stop | None = None
        self._pidfd = -1
        self._seen_cpu = math.inf
        """CPU seconds at the look before, when that found it late but perhaps waiting."""
        self._started_at = 0.0
        self._deadline: asyncio.TimerHandle | None = None
        self._next_read: asyncio.TimerHandle | None = None
        self._read_pause = _READ_SECONDS
        self.done: asyncio.Future[Landed] = self._loop.create_future()
        self._streams: dict[int, HeadAndTail] = {}
        self._theirs: list[int] = []
        self._ready = -1
        self._crew = [] if crew is None else crew
        self._crew.append(self)
        self._used = kernel.Usage(0.0, 0.0, False)
        self._scratch: Scratch | None = None
        try:
            self._open_pipes(code)
            null = os.O_RDONLY | os.O_CLOEXEC
            self._theirs.append(os.open(os.devnull, null) if stdin is None else stdin)
            if scratches is not None:
                self._scratch = scratches.new()
                self._theirs.append(self._scratch.open())
        except OSError as error:
            self._close()
            raise ZygoteLost(f"no pipes for a snippet: {error}") from error

    def _open_pipes(self, code: str) -> None:
        source = os.memfd_create("code", os.MFD_CLOEXEC)
        self._theirs.append(source)
        os.write(source, code.encode(errors="surrogatepass"))
        for _ in ("stdout", "stderr"):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            self._streams[ours] = HeadAndTail(self._limits.output_bytes)
            self._theirs.append(theirs)
        self._ready, ready = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._ready, False)
        self._theirs.append(ready)

    @property
    def descriptors(self) -> list[int]:
        """What the child needs: code, stdout, stderr, ready pipe, stdin, perhaps its scratch."""
        return self._theirs

    def handed_over(self) -> None:
        """The zygote holds its copies now; keeping ours would keep the pipes open."""
        for fd in self._theirs:
            os.close(fd)
        self._theirs = []

    def started(self, pidfd: int) -> None:
        self._pidfd = pidfd
        self._started_at = self._loop.time()
        if self._stopped is not None:
            self._kill()
            return
        first_look = min(self._limits.wall_seconds, self._limits.cpu_seconds)
        self._deadline = self._loop.call_later(first_look, self._look_at_the_clock)
        self._next_read = self._loop.call_later(self._read_pause, self._read_pipes)

    @property
    def is_gone(self) -> bool:
        return self._pidfd >= 0 and kernel.is_gone(self._pidfd)

    @property
    def stopped(self) -> bool:
        """It was told to stop: whatever it says now came too late."""
        return self._stopped is not None

    def stop(self, reason: Stop) -> None:
        """Kill it; the first reason given is the one that counts."""
        if self._stopped is None:
            self._stopped = reason
            self._kill()

    def _kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _look_at_the_clock(self) -> None:
        """Time spent waiting for a core does not count against the limit (docs/sandbox.md)."""
        try:
            used = self._usage()
        except OSError:  # this process may open nothing more at present
            self._deadline = self._loop.call_later(_SECOND_LOOK, self._look_at_the_clock)
            return
        if used is None:
            return  # already gone: its report is under way
        for other in self._crew:
            other._usage()
        elapsed = self._loop.time() - self._started_at
        waited = sum(each._used.waited for each in self._crew)
        wall_left = self._limits.wall_seconds - (elapsed - waited)
        cpu_left = self._limits.cpu_seconds - used.cpu
        if cpu_left <= _CLOCK_SLACK or (wall_left <= _CLOCK_SLACK and self._is_not_waiting()):
            self.stop(Stop.TIMEOUT)
        elif elapsed >= max(STARVATION * self._limits.wall_seconds, STARVATION_SECONDS):
            hungry = used.cpu < self._limits.wall_seconds
            self.stop(Stop.STARVED if hungry else Stop.TIMEOUT)
        else:
            if wall_left > _CLOCK_SLACK:
                self._seen_cpu = math.inf
            pause = max(min(wall_left, cpu_left), _SECOND_LOOK)
            self._deadline = self._loop.call_later(pause, self._look_at_the_clock)

    def _usage(self) -> kernel.Usage | None:
        """As of now, None once it is gone; the last that was seen is kept."""
        used = kernel.usage(self._pidfd) if self._pidfd >= 0 else None
        self._used = used or self._used._replace(runnable=False)
        return used

    def _is_not_waiting(self) -> bool:
        """Whether what was waited for a core is all counted by now: asleep, or running just now."""
        cpu = sum(each._used.cpu for each in self._crew)
        just_ran = cpu > self._seen_cpu
        self._seen_cpu = cpu
        return just_ran or not any(each._used.runnable for each in self._crew)

    def _read_pipes(self) -> None:
        """Now and then, not at every write: most snippets are over before the first time."""
        came = [self._read(fd) for fd in self._streams]
        with contextlib.suppress(OSError):  # this process may open nothing more at present
            self._weigh(kernel.burden(self._pidfd))
            self._look_into_scratch()
        self._read_pause = (
            _READ_SECONDS if any(came) else min(2 * self._read_pause, _IDLE_READ_SECONDS)
        )
        self._next_read = self._loop.call_later(self._read_pause, self._read_pipes)

    def _weigh(self, burden: kernel.Burden) -> None:
        if burden.threads > MOST_THREADS:
            self.stop(Stop.THREADS)
        if burden.page_table_bytes > MOST_PAGE_TABLES:
            self.stop(Stop.PAGE_TABLES)

    def _look_into_scratch(self) -> None:
        pid = kernel.pid_of(self._pidfd) if self._scratch else None
        if self._scratch and pid and self._scratch.is_over(pid):
            self.stop(Stop.SCRATCH)

    def _read(self, fd: int) -> bool:
        """Take one chunk; False when there is none now or never again."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            return False
        stream = self._streams[fd]
        stream.feed(data)
        if stream.total > ABSURD_OUTPUT:
            self.stop(Stop.OUTPUT)
        return True

    def landed(self, report: wire.Report) -> None:
        """The process is reaped; what its pipes still hold is taken and everything closed."""
        for fd in self._streams:
            for _ in range(_PIPE_CHUNKS):
                if not self._read(fd):
                    break
        try:
            ready = os.read(self._ready, 4096)
        except BlockingIOError:
            ready = b""
        stdout, stderr = self._streams.values()
        self._close()
        if not self.done.done():
            self.done.set_result(Landed(report, ready, self._stopped, stdout, stderr))

    def lost(self, reason: str) -> None:
        """There is no zygote any more to say how it ended."""
        self._close()
        if not self.done.done():
            self.done.set_exception(ZygoteLost(reason))

    def _close(self) -> None:
        for timer in (self._deadline, self._next_read):
            if timer is not None:
                timer.cancel()
        self.handed_over()
        if self._scratch is not None:
            self._scratch.remove()
        for fd in self._streams:
            os.close(fd)
        self._streams = {}
        for fd in (self._ready, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._ready = self._pidfd = -1
