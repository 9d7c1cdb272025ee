"""The messages between supervisor and zygote: fixed-size structs over a SOCK_SEQPACKET pair.

Only the two trusted ends speak here. A snippet's child closes its copy before its code runs, and
nothing it writes anywhere is ever read as a message.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

_REQUEST = struct.Struct("<QdQ")
_REPORT = struct.Struct("<BQiddQ")

MAX_MESSAGE = 65_536
"""Bytes; the longest message is the JSON configuration sent first."""

READY = b"R"
"""Written by the jail, once, between the last layer and the first line of the snippet."""

JAIL_FAILED_STATUS = 125
"""Exit status of a child whose jail could not be built; believed only without READY."""

MEMORY_ERROR_STATUS = 247
"""Exit status of a snippet that an uncaught MemoryError ended."""


class Request(NamedTuple):
    """Fork one child. Travels with four descriptors: code, stdout, stderr and ready pipe."""

    id: int
    cpu_seconds: float
    memory_bytes: int
    """Address space above the zygote's own."""

    def pack(self) -> bytes:
        return _REQUEST.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        return cls(*_REQUEST.unpack(data))


class Kind(IntEnum):
    """What a report says of a child."""

    STARTED = 1
    """Forked; its pidfd travels with the report."""
    EXITED = 2
    """Reaped: status and usage are the kernel's."""
    NOT_FORKED = 3
    """The kernel refused the fork; `status` is the errno."""


class Report(NamedTuple):
    """What the kernel said about one child."""

    kind: Kind
    id: int
    status: int = 0
    """Raw wait status, or errno."""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_kb: int = 0

    def pack(self) -> bytes:
        return _REPORT.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Report:
        kind, *rest = _REPORT.unpack(data)
        return cls(Kind(kind), *rest)
