"""What each place can promise: one table, shown by `tirgen doctor` and in docs/sandbox.md."""

from __future__ import annotations

from typing import NamedTuple

from tirgen.sandbox.modes import Mode


class Promise(NamedTuple):
    """One line: what is promised, and how far in each mode, strongest mode first."""

    what: str
    root: str
    userns: str
    bare: str
    posix: str


PROMISES = (
    Promise(
        "works as",
        "root in a VM or a privileged container",
        "ordinary user, CI",
        "unprivileged pod",
        "anything, macOS",
    ),
    Promise("time, CPU and output are bounded", "yes", "yes", "yes", "yes"),
    Promise("waiting for a core counts against no limit", "yes", "yes", "yes", "no"),
    Promise("memory of a snippet is bounded", "yes", "yes", "yes", "Linux only"),
    Promise("nothing outlives its call", "yes", "yes", "yes", "unless it leaves its group"),
    Promise("environment and memory of the program are out of reach", "yes", "yes", "yes", "no"),
    Promise("no process or program is started", "yes", "yes", "yes", "no"),
    Promise("no socket, no network", "yes", "yes", "yes", "no"),
    Promise("no signal or question to another process", "yes", "yes", "yes", "no"),
    Promise("no file is read but the interpreter's own", "yes", "yes", "yes", "no"),
    Promise("no file is written outside the scratch", "yes", "yes", "yes", "no"),
    Promise("names and sizes of host files are unseen", "yes", "yes", "no", "no"),
    Promise("scratch directory", "16 MB, private", "16 MB, private", "16 MB, watched", "no quota"),
    Promise("owns no file and no process of the host", "yes", "inside only", "no", "no"),
    Promise("sessions", "yes", "yes", "no", "no"),
    Promise("holds against defects of the kernel", "no", "no", "no", "no"),
)


def markdown() -> str:
    """The table as docs/sandbox.md shows it."""
    head = ["promise", *Mode]
    rows = [head, ["--"] * len(head), *PROMISES]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
