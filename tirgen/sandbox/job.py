"""One snippet while it runs, as the supervisor sees it: its pipes, its time limits, its end.

It ends when the kernel says that the process ended, not when its pipes close: a snippet may close
stdout early, and nothing it does can keep the call open.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
from dataclasses import replace

from tirgen.sandbox import kernel
from tirgen.sandbox.contract import Limits, ZygoteLost
from tirgen.sandbox.jail import wire
from tirgen.sandbox.outcome import MOST_OUTPUT, MOST_PAGE_TABLES, MOST_THREADS, Stop
from tirgen.sandbox.result import HeadAndTail, JobResult
from tirgen.sandbox.scratch import Scratch, Scratches

SHORTEST = 0.1
"""Seconds; a limit below this would end before the jail is built."""
STARVATION = 10
STARVATION_SECONDS = 60.0
"""A snippet that waits for a core is given up as an infrastructure fault after both: this many
times its wall limit, and this long."""
_CLOCK_SLACK = 0.005
"""Seconds; closer to its limit than this counts as over it."""
_SECOND_CHECK = 0.02
"""Seconds between two checks; the second shows whether the snippet ran or waited for a core."""
_CHUNK = 1 << 16
_READ_SECONDS, _IDLE_READ_SECONDS = 0.01, 0.04
"""Between two reads of the pipes while a snippet prints, and at most while it does not."""
_PIPE_CHUNKS = 16
"""Reads that empty any pipe at the end; no more, for something else might still be writing."""


class SnippetJob:
    """Owns every descriptor of one execution until `done` resolves."""

    def __init__(
        self,
        code: str,
        limits: Limits,
        stdin: int | None = None,
        peers: list[SnippetJob] | None = None,
        scratches: Scratches | None = None,
    ) -> None:
        """The job takes over the descriptor `stdin`; without one the snippet reads nothing.

        Jobs with the same list of `peers` wait for each other: while one waits for a core, no time
        counts against any of them.

        Raises ZygoteLost where this process can open no more descriptors.
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
        """CPU seconds at the last check, if that found it late but perhaps waiting."""
        self._started_at = 0.0
        self._next_check: asyncio.TimerHandle | None = None
        self._next_read: asyncio.TimerHandle | None = None
        self._read_pause = _READ_SECONDS
        self.done: asyncio.Future[JobResult] = self._loop.create_future()
        self._streams: dict[int, HeadAndTail] = {}
        self._child_fds: list[int] = []
        self._ready = -1
        self._peers = [] if peers is None else peers
        self._peers.append(self)
        self._used = kernel.Usage(0.0, 0.0, False)
        self._scratch: Scratch | None = None
        try:
            self._open_pipes(code)
            null = os.O_RDONLY | os.O_CLOEXEC
            self._child_fds.append(os.open(os.devnull, null) if stdin is None else stdin)
            if scratches is not None:
                self._scratch = scratches.new()
                self._child_fds.append(self._scratch.open())
        except OSError as error:
            self._close()
            raise ZygoteLost(f"no pipes for a snippet: {error}") from error

    def _open_pipes(self, code: str) -> None:
        source = os.memfd_create("code", os.MFD_CLOEXEC)
        self._child_fds.append(source)
        os.write(source, code.encode(errors="surrogatepass"))
        for _ in ("stdout", "stderr"):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            self._streams[ours] = HeadAndTail(self._limits.output_bytes)
            self._child_fds.append(theirs)
        self._ready, ready = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._ready, False)
        self._child_fds.append(ready)

    @property
    def descriptors(self) -> list[int]:
        """For the child: code, stdout, stderr, ready pipe, stdin, perhaps its scratch."""
        return self._child_fds

    def sent(self) -> None:
        """The zygote has its copies of the descriptors; ours would keep the pipes open."""
        for fd in self._child_fds:
            os.close(fd)
        self._child_fds = []

    def started(self, pidfd: int) -> None:
        self._pidfd = pidfd
        self._started_at = self._loop.time()
        if self._stopped is not None:
            self._kill()
            return
        first_check = min(self._limits.wall_seconds, self._limits.cpu_seconds)
        self._next_check = self._loop.call_later(first_check, self._check_time)
        self._next_read = self._loop.call_later(self._read_pause, self._read_pipes)

    @property
    def has_ended(self) -> bool:
        return self._pidfd >= 0 and kernel.has_ended(self._pidfd)

    @property
    def stopped(self) -> bool:
        """It was killed; a message from it now comes too late."""
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

    def _check_time(self) -> None:
        """Time spent waiting for a core does not count against the limit (docs/sandbox.md)."""
        try:
            used = self._usage()
        except OSError:  # this process can open no more descriptors at present
            self._next_check = self._loop.call_later(_SECOND_CHECK, self._check_time)
            return
        if used is None:
            return  # it has ended: its report is on the way
        for peer in self._peers:
            peer._usage()
        elapsed = self._loop.time() - self._started_at
        waited = sum(peer._used.waited for peer in self._peers)
        wall_left = self._limits.wall_seconds - (elapsed - waited)
        cpu_left = self._limits.cpu_seconds - used.cpu
        if cpu_left <= _CLOCK_SLACK or (wall_left <= _CLOCK_SLACK and self._is_not_waiting()):
            self.stop(Stop.TIMEOUT)
        elif elapsed >= max(STARVATION * self._limits.wall_seconds, STARVATION_SECONDS):
            starved = used.cpu < self._limits.wall_seconds
            self.stop(Stop.STARVED if starved else Stop.TIMEOUT)
        else:
            if wall_left > _CLOCK_SLACK:
                self._seen_cpu = math.inf
            pause = max(min(wall_left, cpu_left), _SECOND_CHECK)
            self._next_check = self._loop.call_later(pause, self._check_time)

    def _usage(self) -> kernel.Usage | None:
        """As of now, None once it has ended; the last known usage is kept."""
        used = kernel.usage(self._pidfd) if self._pidfd >= 0 else None
        self._used = used or self._used._replace(runnable=False)
        return used

    def _is_not_waiting(self) -> bool:
        """Whether all its waiting for a core is counted by now: it sleeps, or has just run."""
        cpu = sum(peer._used.cpu for peer in self._peers)
        just_ran = cpu > self._seen_cpu
        self._seen_cpu = cpu
        return just_ran or not any(peer._used.runnable for peer in self._peers)

    def _read_pipes(self) -> None:
        """At intervals, not at every write: most snippets end before the first read."""
        came = [self._read(fd) for fd in self._streams]
        with contextlib.suppress(OSError):  # this process can open no more descriptors at present
            self._check_kernel_memory()
            self._check_scratch()
        self._read_pause = (
            _READ_SECONDS if any(came) else min(2 * self._read_pause, _IDLE_READ_SECONDS)
        )
        self._next_read = self._loop.call_later(self._read_pause, self._read_pipes)

    def _check_kernel_memory(self) -> None:
        used = kernel.uncounted(self._pidfd)
        if used.threads > MOST_THREADS:
            self.stop(Stop.THREADS)
        if used.page_table_bytes > MOST_PAGE_TABLES:
            self.stop(Stop.PAGE_TABLES)

    def _check_scratch(self) -> None:
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
        if stream.total > MOST_OUTPUT:
            self.stop(Stop.OUTPUT)
        return True

    def finished(self, report: wire.Report) -> None:
        """The process has ended: read what its pipes still hold, and close everything."""
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
            self.done.set_result(JobResult(report, ready, self._stopped, stdout, stderr))

    def failed(self, reason: str) -> None:
        """The zygote is gone and cannot report how it ended."""
        self._close()
        if not self.done.done():
            self.done.set_exception(ZygoteLost(reason))

    def _close(self) -> None:
        for timer in (self._next_check, self._next_read):
            if timer is not None:
                timer.cancel()
        self.sent()
        if self._scratch is not None:
            self._scratch.remove()
        for fd in self._streams:
            os.close(fd)
        self._streams = {}
        for fd in (self._ready, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._ready = self._pidfd = -1
