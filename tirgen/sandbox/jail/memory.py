"""Makes forking cheap: the zygote's memory frozen for the collector and laid in huge pages.

A fork copies, and an exit tears down, one page-table entry per 2 MiB instead of 512: about a
third less CPU per child (docs/sandbox.md, "What it costs"). Without Linux 6.1 this changes nothing.
"""

from __future__ import annotations

import gc
import os

from tirgen.sandbox.jail import libc

_HUGE = 2 << 20


def _read_all(fd: int) -> str:
    data = b""
    while chunk := os.pread(fd, 1 << 16, len(data)):
        data += chunk
    return data.decode()


def settle(maps_fd: int) -> int:
    """Freeze and collapse this process's anonymous memory; the number of huge pages obtained."""
    gc.collect()
    gc.freeze()
    gc.disable()
    huge = 0
    for line in _read_all(maps_fd).splitlines():
        span, access, *rest = line.split()
        if access != "rw-p" or (len(rest) > 3 and rest[3] != "[heap]"):
            continue
        start, end = (int(text, 16) for text in span.split("-"))
        for page in range(-(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE, _HUGE):
            huge += libc.collapse(page, _HUGE)
    return huge
