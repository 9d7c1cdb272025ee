"""The posix mode's process: limits, then the snippet read from stdin; no zygote and no jail."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import sys
from math import ceil

from tirgen.sandbox.jail import limits, runner, wire

LIBRARY_BYTES = 1 << 30
"""Address space that numpy and sympy take when the snippet imports them."""


def main() -> None:
    """``python -c '...' PACKAGE_ROOT CONFIG`` with the code on stdin."""
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
        (resource.RLIMIT_FSIZE, limits.FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, LIBRARY_BYTES + memory_bytes),
    ):
        # macOS knows RLIMIT_AS but refuses to set it
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))
