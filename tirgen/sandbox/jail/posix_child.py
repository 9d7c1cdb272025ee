"""The process of a snippet in the mode `posix`: limits, then the snippet from stdin; no jail."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import sys
from math import ceil

from tirgen.sandbox.jail import libc, limits, runner, wire

LIBRARY_BYTES = 1 << 30
"""Address space that numpy and sympy take when the snippet imports them."""


def main() -> None:
    """``python -c '...' PACKAGE_ROOT CONFIG`` with the code on stdin."""
    if sys.platform == "linux":
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    config = json.loads(sys.argv[2])
    sys.path.remove(sys.argv[1])
    sys.path += config["site"]
    source = sys.stdin.buffer.read().decode("utf-8-sig", errors="replace")
    os.dup2(config["stdin"], 0)
    os.close(config["stdin"])
    os.environ.clear()
    _limit(config["memory_bytes"], config["cpu_seconds"])
    runner.open_streams()
    random.seed(0)
    os.write(config["ready"], wire.READY)
    os.close(config["ready"])
    runner.exit_process(runner.run(source))


def _limit(memory_bytes: int, cpu_seconds: float) -> None:
    for kind, value in (
        (resource.RLIMIT_CPU, ceil(cpu_seconds) + 1),
        (resource.RLIMIT_FSIZE, limits.SCRATCH_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, LIBRARY_BYTES + memory_bytes),
    ):
        # macOS knows RLIMIT_AS but refuses to set it
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))
