"""Worker processes as their client sees them: started on demand, asked one comparison at a time.

Thread-safe and fork-safe. How a worker limits what it runs is in `worker`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import astuple, dataclass
from pathlib import Path

from storage.records import Verdict
from tirgen.process import Child, ChildLost

_START_UP_SECONDS = 300.0
"""Loading the libraries takes two CPU-seconds, and much longer on a busy machine."""
_GRACE_SECONDS = 30.0
PATIENCE = 10
"""If the machine is busy and a comparison got little CPU, its wall limit is this much longer."""
_END_SECONDS = 5.0
_ROOT = Path(__file__).parents[2]


class VerifierUnavailable(RuntimeError):
    """No worker process could be started or kept: infrastructure, never the policy's fault."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one comparison may use."""

    cpu_seconds: float = 5.0
    """Rounded up to whole seconds by the kernel."""
    wall_seconds: float = 20.0
    """If it has used less than half of its CPU limit by then, the limit is ten times longer. So a
    busy machine cannot make an answer count as wrong."""
    memory_mb: float = 1024
    """Above what the libraries themselves take."""


class _Worker:
    def __init__(self, limits: WorkerLimits) -> None:
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        arguments = [str(limit) for limit in astuple(limits)]
        self._silence = PATIENCE * limits.wall_seconds + _GRACE_SECONDS
        self._ready = False
        self._child = Child(
            [sys.executable, "-P", "-m", "tirgen.verification.worker", *arguments],
            stdout="pipe",
            stderr="inherit",
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
        )

    def ask(self, request: bytes) -> Verdict:
        """Raises ChildLost."""
        if not self._ready:
            self._child.read_line(_START_UP_SECONDS)
            self._ready = True
        self._child.write(request)
        return Verdict(**json.loads(self._child.read_line(self._silence)))

    def interrupt(self) -> None:
        """Kill the worker while another thread waits for it; that thread gets ChildLost."""
        self._child.kill()

    def end(self) -> None:
        self._child.end(_END_SECONDS)


class WorkerPool:
    """At most `workers` processes; `compare` waits for a free one."""

    def __init__(self, workers: int | None = None, limits: WorkerLimits | None = None) -> None:
        self.size = workers or len(os.sched_getaffinity(0))
        self.limits = limits or WorkerLimits()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(self.size)

    def compare(self, gold: str, answer: str, exact_digits: int | None = None) -> Verdict:
        """Decide one pair of extracted answers, as `judge` does. Raises VerifierUnavailable."""
        request = {"gold": gold, "answer": answer, "exact_digits": exact_digits}
        line = json.dumps(request).encode() + b"\n"
        how = ""
        with self._slots:
            for _ in range(2):
                worker = self._take()
                try:
                    verdict = worker.ask(line)
                except ChildLost as lost:
                    how = str(lost)
                    self._drop(worker)
                    continue
                except BaseException:
                    self._drop(worker)
                    raise
                self._give(worker)
                return verdict
        raise VerifierUnavailable(
            f"the verification worker {how}; see its messages above, and whether the machine is "
            "overloaded, and check the installation with: tirgen doctor"
        )

    def start(self) -> None:
        """Start one worker now, so that the first comparison does not wait for its imports."""
        with self._lock:
            self._idle.append(_Worker(self.limits))

    def close(self) -> None:
        """End every worker, for good; comparisons under way raise VerifierUnavailable."""
        with self._lock:
            self._closed = True
            workers, self._idle = self._idle, []
            for busy in self._busy:
                busy.interrupt()
        for worker in workers:
            worker.end()

    def _take(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise VerifierUnavailable("the verifier was closed while answers were verified")
            worker = self._idle.pop() if self._idle else _Worker(self.limits)
            self._busy.add(worker)
            return worker

    def _give(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            if not self._closed:
                self._idle.append(worker)
                return
        worker.end()

    def _drop(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
        worker.end()
