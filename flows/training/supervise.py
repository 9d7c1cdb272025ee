"""``python -m flows.training.supervise COMMAND...``: run a command that cannot outlive its caller.

The caller holds the other end of this process's standard input. When that end closes, which the
kernel sees to even where the caller was killed with SIGKILL, or on SIGTERM or SIGINT, every process
of the command is ended: SIGTERM first, so that a trainer may write its checkpoint, then SIGKILL.
Descendants that left the process group are found too, because this process is their reaper. It is
two processes that watch each other, so that either may be killed. Not covered: both at once.

Imports nothing but the standard library, so that it is up at once.
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
from pathlib import Path

GRACE_SECONDS = 8.0
"""Between SIGTERM and SIGKILL; a cancelled flow run has little more time itself."""
PR_SET_CHILD_SUBREAPER = 36
ENDED_BY_CALLER = 143


def main(command: Sequence[str]) -> int:
    """Run the command to its end and return its exit status; 128 and the number for a signal.

    Two guardians: the inner one, in a session of its own, runs the command, and the outer one holds
    the other end of its standard input. Whichever is killed, the other one ends the command.
    """
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


def _guard(wait: Callable[[], int], tell: Callable[[], None]) -> int:
    """Wait for the child; when the caller ends, `tell` what is below to end, and see to it."""
    ending = threading.Event()

    def end_everything(*_: object) -> None:
        if not ending.is_set():
            ending.set()
            with contextlib.suppress(ProcessLookupError):
                tell()
            _end_descendants(GRACE_SECONDS)
            os._exit(ENDED_BY_CALLER)

    def watch_caller() -> None:
        while os.read(0, 1024):
            pass
        end_everything()

    # The handlers only wake a thread: the main one may be inside wait(), holding its lock.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=end_everything).start())
    threading.Thread(target=watch_caller, daemon=True).start()
    status = wait()
    if ending.is_set():
        threading.Event().wait()
    _signal_descendants(signal.SIGTERM)
    _end_descendants(GRACE_SECONDS if status < 0 else 0.5)
    return status if status >= 0 else 128 - status


def _status(child: int) -> int:
    """Wait for a child and return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (prctl(2))."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become the reaper of descendants")


def _end_descendants(grace: float) -> None:
    """Let everything below end by itself for so many seconds, then kill it."""
    deadline = time.monotonic() + grace
    while _descendants(os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.05)
    while _descendants(os.getpid()):
        _signal_descendants(signal.SIGKILL)
        time.sleep(0.02)


def _signal_descendants(number: signal.Signals) -> None:
    for pid in _descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _descendants(root: int) -> list[int]:
    """All living processes below one, those not yet reaped left out."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
