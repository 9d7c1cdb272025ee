"""Resource limits of one child, in addition to what the zygote itself uses."""

from __future__ import annotations

import math
import os
import resource
from typing import NamedTuple

SCRATCH_BYTES = 16 << 20
"""In the files of a snippet together, and so in each of them."""
SCRATCH_ENTRIES = 512
OPEN_FILES = 64
STACK_BYTES = 64 << 20
"""Well below the usual memory limit: each thread reserves this much address space."""


class MemoryBaseline(NamedTuple):
    """What a child inherits from the zygote, so that a limit counts the snippet's own use."""

    address_space: int
    """Bytes."""
    data: int
    """Bytes."""
    resident: int
    """Bytes a fork has before it does anything: file pages of the zygote do not count."""

    @classmethod
    def read(cls, statm_fd: int) -> MemoryBaseline:
        """From an open /proc/self/statm, and from a fork that only exits."""
        fields = os.pread(statm_fd, 256, 0).split()
        size, data = (int(fields[i]) * resource.getpagesize() for i in (0, 5))
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        _, _, usage = os.wait4(pid, 0)
        return cls(size, data, usage.ru_maxrss << 10)


def _set(kind: int, value: int) -> None:
    """Lower soft and hard limit, never above a hard limit that is there already."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def apply(baseline: MemoryBaseline, memory_bytes: int, cpu_seconds: float) -> None:
    """Limit this process. CPU in whole seconds, as a second limit behind the supervisor's."""
    _set(resource.RLIMIT_AS, baseline.address_space + memory_bytes)
    _set(resource.RLIMIT_DATA, baseline.data + memory_bytes)
    _set(resource.RLIMIT_CPU, math.ceil(cpu_seconds) + 1)
    _set(resource.RLIMIT_FSIZE, SCRATCH_BYTES)
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)
    _set(resource.RLIMIT_STACK, STACK_BYTES)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_MEMLOCK, 0)
    _set(resource.RLIMIT_MSGQUEUE, 0)
