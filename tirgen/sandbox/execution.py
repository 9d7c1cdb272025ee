"""Turns what is known of a finished snippet into the `Execution` its caller sees."""

from __future__ import annotations

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.flight import ABSURD_OUTPUT, MOST_PAGE_TABLES, MOST_THREADS, Landed
from tirgen.sandbox.jail.wire import READY
from tirgen.sandbox.outcome import Facts, Stop, judge
from tirgen.sandbox.scratch import MOST_BYTES

FINE = (Outcome.OK, Outcome.NO_OUTPUT)
"""The program came to its end."""


def assemble(landed: Landed, baseline: int, limits: Limits, *, jailed: bool) -> Execution:
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
        return infrastructure_fault(landed.ready.decode(errors="replace") or "died in its jail")
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
    match landed.stopped:
        case Stop.OUTPUT:
            return f"\nKilled: it printed more than {ABSURD_OUTPUT >> 20} MB.\n"
        case Stop.THREADS:
            return f"\nKilled: it had more than {MOST_THREADS} threads at once.\n"
        case Stop.PAGE_TABLES:
            return f"\nKilled: its page tables took more than {MOST_PAGE_TABLES >> 20} MB.\n"
        case Stop.SCRATCH:
            return f"\nKilled: it put more than {MOST_BYTES >> 20} MB into files.\n"
        case Stop.CROWDED:
            return "\nUndone: all sessions together held more than they may, this one the most.\n"
    return ""


def infrastructure_fault(reason: str) -> Execution:
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
