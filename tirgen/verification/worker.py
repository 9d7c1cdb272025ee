"""A killable worker: supervises one forked child that runs math-verify within hard limits.

Run as ``python -m tirgen.verification.worker`` with the fields of WorkerLimits as arguments. One
request a line on stdin, one answer a line on stdout, both JSON, after a line that says ready. The
supervisor imports the libraries once and parses nothing, so it cannot hang; the child is a fork of
it, replaced within milliseconds when it overruns its CPU time or memory or dies. A supervisor whose
stdin closes ends itself and its child, so no worker outlives its client, however that died.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
from dataclasses import asdict, dataclass
from functools import partial
from io import FileIO
from typing import Any

import psutil
from sympy.core.cache import clear_cache

from storage.records import Verdict
from tirgen.process import signal_at_parents_end
from tirgen.verification.judge import judge
from tirgen.verification.pool import PATIENCE, WorkerLimits
from tirgen.verification.symbolic import decide

_RECYCLE_AFTER = 500
"""Comparisons, so that what the libraries cache is never counted against an answer."""


@dataclass(slots=True)
class _Child:
    pid: int
    requests: FileIO
    replies: FileIO
    served: int = 0


class _Orphaned(Exception):
    """The client went away."""


def main() -> None:
    """Serve comparisons until stdin closes."""
    limits = WorkerLimits(*map(float, sys.argv[1:]))
    replies = FileIO(os.dup(1), "w")
    os.dup2(2, 1)
    signal_at_parents_end(signal.SIGKILL)
    child = _fork(limits)
    try:
        replies.write(b"ready\n")
        for request in sys.stdin.buffer:
            if child.served >= _RECYCLE_AFTER:
                _end(child)
                child = _fork(limits)
            reply, alive = _ask(child, request, limits)
            if not alive:
                child = _fork(limits)
            replies.write(reply)
    except (_Orphaned, BrokenPipeError):
        pass
    _end(child)


def _ask(child: _Child, request: bytes, limits: WorkerLimits) -> tuple[bytes, bool]:
    """(the reply, whether the child is still fit to serve)."""
    child.served += 1
    child.requests.write(request)
    poll = select.poll()
    poll.register(child.replies, select.POLLIN | select.POLLHUP)
    poll.register(0, select.POLLHUP)
    events = _wait(poll, child, limits)
    if any(descriptor == 0 for descriptor, _ in events):
        raise _Orphaned
    reply = child.replies.readline() if events else b""
    if reply.endswith(b"\n"):
        return reply, True
    status = _end(child, kill=not events)
    verdict = _death_verdict(status, overran=not events)
    return json.dumps(asdict(verdict)).encode() + b"\n", False


def _wait(poll: select.poll, child: _Child, limits: WorkerLimits) -> list[tuple[int, int]]:
    """What happened first; nothing if the child took all of its time.

    A child that got less than half of its CPU time was not slow, the machine was.
    """
    before = _cpu_seconds(child.pid)
    for _ in range(PATIENCE):
        events = poll.poll(limits.wall_seconds * 1000)
        if events or _cpu_seconds(child.pid) - before >= limits.cpu_seconds / 2:
            return events
    return []


def _cpu_seconds(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def _death_verdict(status: int, overran: bool) -> Verdict:
    """The verdict on a comparison that ended its child: not correct, and why; never "wrong"."""
    killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    if overran or killer == signal.SIGXCPU:
        reason = "comparison stopped at its time limit"
        return Verdict(correct=False, method="timeout", reason=reason)
    if killer == signal.SIGKILL:
        reason = "comparison killed by the system for its memory"
        return Verdict(correct=False, method="memory", reason=reason)
    how = signal.strsignal(killer) if killer is not None else f"exit {os.WEXITSTATUS(status)}"
    return Verdict(correct=False, method="crash", reason=f"comparison ended by: {how}")


def _end(child: _Child, kill: bool = True) -> int:
    """Reap the child, killed first unless it is ending by itself, and return its wait status."""
    if kill:
        os.kill(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    child.requests.close()
    child.replies.close()
    return status


def _fork(limits: WorkerLimits) -> _Child:
    request_read, request_write = os.pipe()
    reply_read, reply_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(request_write)
        os.close(reply_read)
        _serve(request_read, reply_write, limits)
        os._exit(0)
    os.close(request_read)
    os.close(reply_write)
    return _Child(pid, FileIO(request_write, "w"), FileIO(reply_read, "r"))


def _serve(requests: int, replies: int, limits: WorkerLimits) -> None:
    """The child: answers until it is killed. Its output goes nowhere but into `replies`."""
    signal_at_parents_end(signal.SIGKILL)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    _limit_memory(limits.memory_mb)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with FileIO(requests, "r") as source, FileIO(replies, "w") as sink:
        while line := source.readline():
            request = json.loads(line)
            _limit_cpu(limits.cpu_seconds)
            sink.write(json.dumps(asdict(_decide(request))).encode() + b"\n")


def _decide(request: dict[str, Any]) -> Verdict:
    """The verdict; it does not depend on what sympy caches of earlier comparisons."""
    try:
        digits = request["exact_digits"]
        leaf = partial(decide, exact_digits=digits)
        return judge(request["gold"], request["answer"], leaf, digits)
    except MemoryError:
        return Verdict(correct=False, method="memory", reason="comparison ran out of memory")
    except RecursionError:
        return Verdict(correct=False, method="crash", reason="comparison nested too deep")
    except Exception as error:  # noqa: BLE001  the boundary around two parsers of hostile text
        return Verdict(correct=False, method="crash", reason=f"{type(error).__name__}: {error}")
    finally:
        clear_cache()


def _limit_cpu(seconds: float) -> None:
    """Move the CPU limit to `seconds` from now, rounded up as the kernel counts whole seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit_memory(memory_mb: float) -> None:
    """Allow `memory_mb` above what the libraries already take."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    limit = used + int(memory_mb * 1024 * 1024)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
