"""Makes forking cheap: the zygote's memory frozen for the collector and laid in huge pages.

A fork copies, and an exit tears down, one page-table entry per 2 MiB instead of 512: about a
third less CPU per child (docs/sandbox.md, "What it costs"). Without Linux 6.1 this changes nothing.
What children allocate is led to pools of its own: scattered over the holes that start-up left,
it would cost the copy of a page for each.
"""

from __future__ import annotations

import gc
import os

from tirgen.sandbox.jail import libc

_HUGE = 2 << 20
_POOL, _POOL_HEADER = 16 << 10, 48
"""Bytes: CPython takes small objects from pools, each of one size of object."""
_SIZES = range(48, 513, 16)
"""Bytes of the objects that come from pools; smaller ones are too various to fill by hand."""
_MOST_FILLERS = 100_000
"""Of one size: an interpreter that allocates otherwise is left in peace after so many."""
_fillers: list[bytes] = []


def _read_all(fd: int) -> str:
    data = b""
    while chunk := os.pread(fd, 1 << 16, len(data)):
        data += chunk
    return data.decode()


def _fill_holes(size: int) -> None:
    """Allocate objects of this size until one is the first of a pool nobody used before."""
    content = size - b"".__sizeof__()
    for _ in range(_MOST_FILLERS):
        filler = bytes(content)
        _fillers.append(filler)
        if id(filler) % _POOL == _POOL_HEADER:
            return


def settle(maps_fd: int) -> int:
    """Freeze and collapse this process's anonymous memory; the number of huge pages obtained."""
    gc.collect()
    for size in _SIZES:
        _fill_holes(size)
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
