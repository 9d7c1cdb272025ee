"""Decides about each fork a session attempts: exactly those the supervisor ordered succeed.

The session's seccomp filter asks here (SECCOMP_RET_USER_NOTIF). The arguments of `clone` that
matter were checked by the filter itself, so a permission cannot be turned into anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct

_RECEIVE, _SEND = 0xC050_2100, 0xC018_2101
_NOTIFICATION_BYTES = 80
_ANSWER = struct.Struct("=QqiI")
_CONTINUE = 1


class ForkGate:
    """The listener of one session's filter."""

    def __init__(self, listener: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._allowed: set[int] = set()
        self._loop.add_reader(listener, self._decide)

    def allow(self, pid: int) -> None:
        """One fork by the process with this pid, as we see it."""
        self._allowed.add(pid)

    def withdraw(self, pid: int) -> bool:
        """The permission ends; whether it was used."""
        unused = pid in self._allowed
        self._allowed.discard(pid)
        return not unused

    def _decide(self) -> None:
        notification = bytearray(_NOTIFICATION_BYTES)
        with contextlib.suppress(OSError):  # the asker was killed meanwhile
            fcntl.ioctl(self._listener, _RECEIVE, notification)
            number, pid = struct.unpack_from("=QI", notification)
            if pid in self._allowed:
                self._allowed.remove(pid)
                answer = _ANSWER.pack(number, 0, 0, _CONTINUE)
            else:
                answer = _ANSWER.pack(number, 0, -errno.EPERM, 0)
            fcntl.ioctl(self._listener, _SEND, answer)

    def close(self) -> None:
        if self._listener >= 0:
            self._loop.remove_reader(self._listener)
            os.close(self._listener)
            self._listener = -1
