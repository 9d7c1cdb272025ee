"""How a child process learns that its parent is gone, kill -9 included."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""From linux/prctl.h."""


def die_with_parent() -> None:
    """End this process when the one that started it ends, by whichever sign comes first.

    Portable: standard input, a pipe whose other end only the parent holds, reaches its end. On
    Linux the kernel also sends SIGTERM, in case a fork of the parent keeps that pipe open.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    threading.Thread(target=_wait_for_end_of_input, name="lifeline", daemon=True).start()


def _wait_for_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
