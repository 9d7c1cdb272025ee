"""Makes forking cheap: freezes the zygote's memory for the collector and puts it in huge pages.

A fork copies, and an exit removes, one page-table entry per 2 MiB instead of 512: about a third
less CPU per child (docs/sandbox.md, "What it costs"). Before Linux 6.1 it has no effect. It also
fills the holes that start-up left in the allocator, so that the new objects of a child are
together: each hole that a child used would cost the copy of a page.
"""

from __future__ import annotations

import gc
import os

from tirgen.sandbox.jail import libc

_HUGE = 2 << 20
_POOL, _POOL_HEADER = 16 << 10, 48
"""Bytes: CPython takes small objects from pools, each for one size of object."""
_SIZES = range(48, 513, 16)
"""Bytes of the objects that come from pools; `bytes` objects cannot be smaller than 33."""
_MOST_FILLERS = 100_000
"""Of one size; an interpreter that allocates in another way is given up after this many."""
_fillers: list[bytes] = []


def _read_all(fd: int) -> str:
    data = b""
    while chunk := os.pread(fd, 1 << 16, len(data)):
        data += chunk
    return data.decode()


def _fill_holes(size: int) -> None:
    """Allocate objects of this size until one is the first in a new pool."""
    content = size - b"".__sizeof__()
    for _ in range(_MOST_FILLERS):
        filler = bytes(content)
        _fillers.append(filler)
        if id(filler) % _POOL == _POOL_HEADER:
            return


def settle(maps_fd: int) -> int:
    """Freeze this process's memory and ask for huge pages; returns how many it got."""
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
