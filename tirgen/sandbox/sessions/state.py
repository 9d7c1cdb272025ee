"""One state of a session: a process that holds the interpreter as some cell left it.

It is frozen except while it forks, so nothing that a cell left running (a thread, a signal
handler) uses time between cells. Its messages are a byte or a struct; the kernel attests who sent
them.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator

from tirgen.sandbox.jail.wire import Cell

ANSWER_SECONDS = 5.0
"""How long a session's process may take to answer an order."""
_CREDENTIALS = struct.Struct("=iII")
_ANCILLARY = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Our end, which gets the sender's pid with each message, and the other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


async def receive(ours: socket.socket, pidfd: int | None = None) -> tuple[bytes, int]:
    """The next message and the sender's pid; descriptors that came along are closed.

    As `receive_with_descriptors`.
    """
    data, fds, pid = await receive_with_descriptors(ours, pidfd)
    for fd in fds:
        os.close(fd)
    return data, pid


async def receive_with_descriptors(
    ours: socket.socket, pidfd: int | None = None
) -> tuple[bytes, list[int], int]:
    """The next message, descriptors that came with it, the sender's pid.

    Empty when the other end is closed or, with `pidfd`, when that process has ended: its end of
    the socket may still be open in the state it was forked from.
    """
    gone = False
    while True:
        try:
            data, ancillary, _, _ = ours.recvmsg(64, _ANCILLARY)
        except BlockingIOError:
            if gone:
                return b"", [], 0
            watched = [ours.fileno()] if pidfd is None else [ours.fileno(), pidfd]
            gone = pidfd in await _first_readable(*watched)
        except ConnectionError:
            return b"", [], 0
        else:
            return data, *_attached(ancillary)


async def _first_readable(*fds: int) -> set[int]:
    """Wait for a message or the end of a process; returns which came."""
    loop = asyncio.get_running_loop()
    came: set[int] = set()
    any_came = asyncio.Event()

    def note(fd: int) -> None:
        came.add(fd)
        any_came.set()

    for fd in fds:
        loop.add_reader(fd, note, fd)
    try:
        await any_came.wait()
    finally:
        for fd in fds:
            loop.remove_reader(fd)
    return came


def _attached(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    fds, pid = array.array("i"), 0
    for _, kind, payload in ancillary:
        if kind == socket.SCM_RIGHTS:
            fds.frombytes(payload)
        elif kind == socket.SCM_CREDENTIALS:
            pid, _, _ = _CREDENTIALS.unpack(payload)
    return list(fds), pid


class State:
    """A frozen interpreter; `users` sessions continue from it."""

    def __init__(self, ours: socket.socket, inner_pid: int, pid: int) -> None:
        self.socket = ours
        self.inner_pid = inner_pid
        """In its own pid namespace."""
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.users = 1
        self.turn = asyncio.Lock()
        """Held while it carries out an order of one of them."""

    @classmethod
    async def arrive(cls, ours: socket.socket) -> State | None:
        """The process that announces itself on this socket; None if none does in time."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                data, pid = await receive(ours)
            if data[:1] != Cell.HERE or len(data) != 1 + Cell.PID.size:
                return None
            (inner_pid,) = Cell.PID.unpack(data[1:])
            return cls(ours, inner_pid, pid)
        except (TimeoutError, ProcessLookupError):
            return None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    async def reap(self, inner_pid: int) -> tuple[int, int]:
        """Have it wait for one of its children: wait status, peak kilobytes.

        Earlier cells may have tampered with the answer, so one that the kernel cannot have given
        is replaced.
        """
        async with self.awake():
            try:
                self.socket.send(Cell.REAP + Cell.PID.pack(inner_pid))
                async with asyncio.timeout(ANSWER_SECONDS):
                    data, _ = await receive(self.socket)
                status, peak = Cell.ENDED.unpack(data)
            except (OSError, TimeoutError, struct.error):
                return signal.SIGABRT, 0
        is_an_end = 0 <= status <= 0xFFFF and (os.WIFEXITED(status) or os.WIFSIGNALED(status))
        return (status if is_an_end else signal.SIGABRT), peak

    async def end(self) -> None:
        """Kill it, and wait until it has ended."""
        self._signal(signal.SIGKILL)
        await _first_readable(self.pidfd)

    @contextlib.asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """Let it run for the block, for one user at a time."""
        async with self.turn:
            self._signal(signal.SIGCONT)
            try:
                yield
            finally:
                self.freeze()

    def release(self) -> None:
        """It has one user less; without users the process ends."""
        self.users -= 1
        if self.users == 0:
            self._signal(signal.SIGKILL)
            self.socket.close()
            os.close(self.pidfd)
            self.pidfd = -1

    def _signal(self, number: int) -> None:
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)
