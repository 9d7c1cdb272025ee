"""From what is known of a finished job to the `Execution` that its caller gets."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.jail.wire import READY, Report
from tirgen.sandbox.outcome import STOP_MESSAGES, Facts, Stop, judge

FINISHED = (Outcome.OK, Outcome.NO_OUTPUT)
"""The program ran to its end."""


class HeadAndTail:
    """The head and the tail of a stream: at most about `limit` bytes of everything it is fed."""

    def __init__(self, limit: int) -> None:
        self._head_room = limit - limit // 2
        self._tail_room = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0
        """Bytes fed so far."""

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        room = self._head_room - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_room:  # twice, so that it is cut rarely
            del self._tail[: len(self._tail) - self._tail_room]

    @property
    def truncated(self) -> bool:
        return self.total > self._head_room + self._tail_room

    def text(self) -> str:
        """As UTF-8, undecodable bytes replaced; a line in the middle says how much is missing."""
        if not self.truncated:
            return bytes(self._head + self._tail).decode(errors="replace")
        tail = self._tail[len(self._tail) - self._tail_room :]
        missing = self.total - len(self._head) - len(tail)
        marker = f"\n[... {missing} bytes left out ...]\n"
        return self._head.decode(errors="replace") + marker + tail.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class JobResult:
    """Everything known of a snippet when its process has ended."""

    report: Report
    ready: bytes
    """READY, or why the jail could not be built."""
    stopped: Stop | None
    stdout: HeadAndTail
    stderr: HeadAndTail


def to_execution(result: JobResult, baseline: int, limits: Limits, *, jailed: bool) -> Execution:
    """What the caller gets. `baseline` is the memory in bytes the process started with."""
    report, stdout, stderr = result.report, result.stdout, result.stderr
    facts = Facts(
        wait_status=report.status,
        jailed=jailed,
        ready=result.ready == READY,
        stopped=result.stopped,
        printed=bool(stdout.text().strip()),
        cpu_seconds=report.cpu_seconds,
        peak_memory_bytes=max(0, (report.peak_rss_kb << 10) - baseline),
    )
    if not facts.ready:
        return infrastructure_fault(result.ready.decode(errors="replace") or "died in its jail")
    why_killed = STOP_MESSAGES.get(result.stopped) if result.stopped else None
    return Execution(
        outcome=judge(facts, limits),
        stdout=stdout.text(),
        stderr=stderr.text() + (f"\n{why_killed}\n" if why_killed else ""),
        exit_code=facts.exit_code,
        wall_ms=report.wall_seconds * 1e3,
        cpu_ms=report.cpu_seconds * 1e3,
        peak_memory_mb=facts.peak_memory_bytes / (1 << 20),
        truncated=stdout.truncated or stderr.truncated,
    )


def infrastructure_fault(reason: str) -> Execution:
    return not_run(Outcome.INFRA_ERROR, f"sandbox: {reason}")


def not_run(outcome: Outcome, reason: str) -> Execution:
    """The result of a snippet that was never executed."""
    return Execution(
        outcome=outcome,
        stdout="",
        stderr=reason,
        exit_code=None,
        wall_ms=0.0,
        cpu_ms=0.0,
        peak_memory_mb=0.0,
        truncated=False,
    )
