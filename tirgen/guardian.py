"""``python -m tirgen.guardian COMMAND...``: run a command whose processes all end with the caller.

The caller holds the other end of this process's standard input. When that end closes, which the
kernel does even after kill -9 of the caller, or on SIGTERM or SIGINT, every process of the command
is ended: SIGTERM first, so that a trainer can write its checkpoint, then SIGKILL. Descendants that
left the process group are found too, because this process adopts them. There are two guardians
that watch each other, so either may be killed. Not covered: both killed at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from tirgen.process import descendants, signal_all, signal_at_parents_end, wait_until

GRACE_SECONDS = 8.0
"""Between SIGTERM and SIGKILL; a cancelled flow run has little more time itself."""
_LEFT_BEHIND_SECONDS = 0.5
"""The same for what a command left behind that ended by itself."""
_PR_SET_CHILD_SUBREAPER = 36
ENDED_BY_CALLER = 143


def main(command: Sequence[str]) -> int:
    """Run the command to its end and return its exit status; 128 and the number for a signal.

    The inner guardian, in a session of its own, runs the command. The outer one holds the other
    end of the inner one's standard input. If one is killed, the other ends the command.
    """
    signal_at_parents_end(signal.SIGTERM)
    reader, writer = os.pipe()
    _adopt_orphans()
    if inner := os.fork():
        os.close(reader)
        return _guard(lambda: _status(inner), lambda: os.kill(inner, signal.SIGTERM))
    os.close(writer)
    os.dup2(reader, 0)
    os.setsid()
    _adopt_orphans()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    return _guard(child.wait, lambda: _signal_descendants(signal.SIGTERM))


def _guard(wait: Callable[[], int], ask_to_end: Callable[[], None]) -> int:
    """Wait for the child; when the caller ends, ask what is below to end, and make sure of it."""
    ending = threading.Event()

    def end_everything(*_: object) -> None:
        if not ending.is_set():
            ending.set()
            with contextlib.suppress(ProcessLookupError):
                ask_to_end()
            _end_descendants(GRACE_SECONDS)
            os._exit(ENDED_BY_CALLER)

    def watch_caller() -> None:
        while os.read(0, 1024):
            pass
        end_everything()

    # The handlers only start a thread: the main one may be inside wait(), holding its lock.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=end_everything).start())
    threading.Thread(target=watch_caller, daemon=True).start()
    status = wait()
    if ending.is_set():
        threading.Event().wait()
    _signal_descendants(signal.SIGTERM)
    _end_descendants(GRACE_SECONDS if status < 0 else _LEFT_BEHIND_SECONDS)
    return status if status >= 0 else 128 - status


def _status(child: int) -> int:
    """Wait for a child and return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (prctl(2))."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot adopt the descendants of the command")


def _end_descendants(grace: float) -> None:
    """Let everything below end by itself for `grace` seconds, then kill it."""
    wait_until(lambda: not descendants(os.getpid()), grace)
    while descendants(os.getpid()):
        _signal_descendants(signal.SIGKILL)
        time.sleep(0.02)


def _signal_descendants(number: signal.Signals) -> None:
    signal_all(descendants(os.getpid()), number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
