"""Decides about each fork a session attempts: only those that the supervisor ordered succeed.

The session's seccomp filter asks here (SECCOMP_RET_USER_NOTIF). The filter itself has checked the
flags of `clone`, so a permitted fork can be nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct

_RECEIVE, _SEND = 0xC050_2100, 0xC018_2101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_NOTIFICATION_BYTES = 80
_ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id, value, error, flags
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE: run the system call


class ForkPermits:
    """The listener of one session's filter."""

    def __init__(self, listener: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._permitted: set[int] = set()
        self._loop.add_reader(listener, self._decide)

    def permit(self, pid: int) -> None:
        """Permit one fork by the process with this pid, in the supervisor's namespace."""
        self._permitted.add(pid)

    def withdraw(self, pid: int) -> bool:
        """End the permit; returns whether it was used."""
        unused = pid in self._permitted
        self._permitted.discard(pid)
        return not unused

    def _decide(self) -> None:
        notification = bytearray(_NOTIFICATION_BYTES)
        with contextlib.suppress(OSError):  # the process that asked was killed meanwhile
            fcntl.ioctl(self._listener, _RECEIVE, notification)
            number, pid = struct.unpack_from("=QI", notification)
            if pid in self._permitted:
                self._permitted.remove(pid)
                answer = _ANSWER.pack(number, 0, 0, _CONTINUE)
            else:
                answer = _ANSWER.pack(number, 0, -errno.EPERM, 0)
            fcntl.ioctl(self._listener, _SEND, answer)

    def close(self) -> None:
        if self._listener >= 0:
            self._loop.remove_reader(self._listener)
            os.close(self._listener)
            self._listener = -1
