"""The messages between supervisor and zygote: fixed-size structs over a SOCK_SEQPACKET pair.

Only these two trusted processes use the socket. A snippet's child closes its copy before its code
runs, and nothing it writes anywhere is ever read as a message.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

_REQUEST = struct.Struct("<QdQ?")
_REPORT = struct.Struct("<BQiddQ")

MAX_MESSAGE = 65_536
"""Bytes; the longest message is the JSON configuration sent first."""

READY = b"R"
"""Written by the jail, once, between the last layer and the first line of the snippet."""

JAIL_FAILED_STATUS = 125
"""Exit status of a child whose jail could not be built; it counts only without READY."""

MEMORY_ERROR_STATUS = 247
"""Exit status of a snippet that an uncaught MemoryError ended."""

PERHAPS_MEMORY_STATUS = 246
"""The same for an error that may have another reason; how much memory was in use decides. It is a
MemoryError before the first line ran, which the parser also raises for a source nested too deeply,
or a SystemError, which CPython raises where it does not check a failed allocation."""


class Request(NamedTuple):
    """Fork one child. Travels with its descriptors: for a snippet code, stdout, stderr, ready
    pipe, stdin and perhaps its scratch; for a session the socket of its first state."""

    id: int
    cpu_seconds: float
    memory_bytes: int
    """Address space above the zygote's own."""
    session: bool = False
    """A session that keeps its variables, instead of one snippet."""

    def pack(self) -> bytes:
        return _REQUEST.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        return cls(*_REQUEST.unpack(data))


class ReportKind(IntEnum):
    """What a report says of a child."""

    STARTED = 1
    """Forked; its pidfd travels with the report."""
    EXITED = 2
    """Reaped: status and usage are the kernel's."""
    NOT_FORKED = 3
    """The kernel refused the fork; `status` is the errno."""


class Report(NamedTuple):
    """What the kernel reported about one child."""

    kind: ReportKind
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
        return cls(ReportKind(kind), *rest)


class Cell:
    """The messages between supervisor and session; each state has its own socket.

    The processes of a session run model-written code, so the supervisor accepts only single bytes
    and fixed structs from them; the kernel attests who sent them.
    """

    JAILED = b"J"
    """From the session's init, with the seccomp listener; any other message is why it failed."""
    HERE = b"H"
    """From a new process, before it runs anything, with its pid in its own namespace."""
    GO = b"G"
    RUN, RUN_AND_ECHO = b"R", b"E"
    """Fork and run a cell. Travels with code, stdout, stderr, ready pipe and the new socket."""
    REAP = b"W"
    """Wait for the child with this pid."""
    DONE = b"D"
    """With the exit status a program would have had; the process lives on as a state."""

    ENDED = struct.Struct("<iQ")
    """Answer to REAP: raw wait status, peak resident kilobytes."""
    PID = struct.Struct("<I")
    """Follows HERE and REAP."""
