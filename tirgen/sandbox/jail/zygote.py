"""The zygote: mathematics libraries loaded once, then one jailed, single-use fork per snippet.

It starts isolated, with a fixed environment, and reads nothing that a snippet wrote: code passes
through it as a descriptor that only its child reads, and its reports are the kernel's facts. When
the supervisor ends, even by kill -9, the zygote ends, and with it every snippet.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any, NamedTuple

from tirgen.sandbox.jail import (
    child,
    hide,
    landlock,
    libc,
    memory,
    namespaces,
    runner,
    seccomp,
    session,
    syscalls,
    warm,
    wire,
)
from tirgen.sandbox.jail.limits import MemoryBaseline
from tirgen.sandbox.jail.seccomp import Filter

_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC


class ForkedChild(NamedTuple):
    """A child that was forked and not yet reaped."""

    pid: int
    request_id: int
    forked_at: float


class Zygote:
    """The loop: a request becomes a fork, an exit becomes a report."""

    def __init__(self, control: socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._mode: str = config["mode"]
        self._readable: list[str] = config["readable"]
        self._preload: list[str] = config["preload"]
        self._warmed: bool = config["warmed"]
        self._running: dict[int, ForkedChild] = {}
        self._poll = select.poll()
        self._pid_namespace = -1

    def prepare(self) -> dict[str, Any]:
        """Isolate this process, load, and prepare the jail; returns the facts for the hello."""
        _end_with_supervisor()
        if self._mode != "bare":
            namespaces.enter(self._mode == "userns", self._control.close)
            self._pid_namespace = os.open("/proc/self/ns/pid", _READ_ONLY)
        statm = os.open("/proc/self/statm", _READ_ONLY)
        maps = os.open("/proc/self/maps", _READ_ONLY)
        status = os.open("/proc/self/status", _READ_ONLY)
        if self._mode != "bare":
            namespaces.change_root(self._readable)
        libraries = warm.load(self._preload, warmed=self._warmed)
        _check_one_thread(status, self._preload)
        os.environ.clear()
        _open_streams()
        hide.unload_modules()
        readable = [*self._readable, *namespaces.DEVICES]
        ruleset = landlock.ruleset(
            readable, [namespaces.SCRATCH_PARENT] if self._mode != "bare" else [], [os.devnull]
        )
        machine = syscalls.this_machine()
        filters = Filter(seccomp.for_snippet(machine)), Filter(seccomp.for_session(machine))
        libc.prctl(libc.PR_SET_DUMPABLE, 0)
        huge_pages = memory.settle(maps)
        baseline = MemoryBaseline.read(statm)
        parent = os.getpid() if self._mode == "bare" else 0
        self._jail = child.Jail(self._mode, baseline, readable, ruleset, *filters, parent)
        return {
            "landlock_abi": landlock.abi(),
            "huge_pages": huge_pages,
            "libraries": libraries,
            "resident_kb": baseline.resident >> 10,
        }

    def serve(self) -> None:
        """Until the supervisor closes its end."""
        self._poll.register(self._control, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._running:
                    self._reap(fd)
                elif not self._accept():
                    return

    def _accept(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, wire.MAX_MESSAGE, 6)
        if not data:
            return False
        self._fork(wire.Request.unpack(data), fds)
        for fd in fds:
            os.close(fd)
        return True

    def _fork(self, request: wire.Request, fds: list[int]) -> None:
        forked_at = time.monotonic()
        try:
            pid = self._fork_into_namespace()
        except OSError as error:
            self._report(
                wire.Report(wire.ReportKind.NOT_FORKED, request.id, error.errno or errno.EAGAIN)
            )
            return
        if pid == 0:
            run = session.run_session if request.session else child.run_snippet
            run(self._jail, request, fds)
        pidfd = os.pidfd_open(pid)
        self._running[pidfd] = ForkedChild(pid, request.id, forked_at)
        self._poll.register(pidfd, select.POLLIN)
        started = wire.Report(wire.ReportKind.STARTED, request.id)
        socket.send_fds(self._control, [started.pack()], [pidfd])

    def _fork_into_namespace(self) -> int:
        """Fork; the child is pid 1 of a pid namespace of its own where the mode has them."""
        if self._pid_namespace < 0:
            return libc.fork()
        libc.unshare(libc.CLONE_NEWPID)
        try:
            pid = libc.fork()
        except OSError:
            libc.setns(self._pid_namespace, libc.CLONE_NEWPID)
            raise
        if pid:
            libc.setns(self._pid_namespace, libc.CLONE_NEWPID)
        return pid

    def _reap(self, pidfd: int) -> None:
        running = self._running.pop(pidfd)
        _, status, usage = os.wait4(running.pid, 0)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        self._report(
            wire.Report(
                wire.ReportKind.EXITED,
                running.request_id,
                status,
                time.monotonic() - running.forked_at,
                usage.ru_utime + usage.ru_stime,
                usage.ru_maxrss,
            )
        )

    def _report(self, report: wire.Report) -> None:
        self._control.send(report.pack())


def _end_with_supervisor() -> None:
    """End when the supervisor does, also if that happened before this call."""
    supervisor = os.getppid()
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("900")  # when memory is short, the kernel should kill a snippet first


def _check_one_thread(status: int, preload: list[str]) -> None:
    """`libc.fork` is safe only in a process of one thread."""
    text = os.pread(status, 1 << 14, 0).decode(errors="replace")
    os.close(status)
    if "\nThreads:\t1\n" not in text:
        raise OSError(f"preload: one of {', '.join(preload)} starts threads; leave it out")


def _open_streams() -> None:
    """Once for all children; during this call 1 and 2 are pipes, as in each child."""
    pipe = os.pipe()
    kept = os.dup(1), os.dup(2)
    for fd in (1, 2):
        os.dup2(pipe[1], fd)
    runner.open_streams()
    for fd, before in zip((1, 2), kept, strict=True):
        os.dup2(before, fd)
    for fd in (*pipe, *kept):
        os.close(fd)


def main() -> None:
    """``python -c '...' PACKAGE_ROOT CONTROL_FD``: configuration in, hello out, then serve."""
    control = socket.socket(fileno=int(sys.argv[2]))
    config = json.loads(control.recv(wire.MAX_MESSAGE))
    sys.path.remove(sys.argv[1])
    sys.path += config["site"]
    zygote = Zygote(control, config)
    try:
        hello = zygote.prepare()
    except (OSError, ImportError) as error:
        control.send(json.dumps({"error": str(error)}).encode())
        sys.exit(1)
    control.send(json.dumps(hello).encode())
    zygote.serve()
    os._exit(0)
