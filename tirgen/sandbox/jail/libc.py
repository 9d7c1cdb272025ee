"""The few system calls that Python has no function for, through ctypes; they raise OSError."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_with_gil = ctypes.PyDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *args: object, what: str) -> int:
    """A raw system call; the caller wraps each argument in its ctypes type."""
    return _checked(_libc.syscall(ctypes.c_long(number), *args), what)


def prctl(option: int, argument: int | ctypes.Array[ctypes.c_char], second: object = 0) -> None:
    if isinstance(argument, int):
        argument_: object = ctypes.c_ulong(argument)
    else:
        argument_ = argument
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, argument_, second or zero, zero, zero), f"prctl {option}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), f"unshare {flags:#x}")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    src, dst, fs, options = encoded
    _checked(_libc.mount(src, dst, fs, ctypes.c_ulong(flags), options), f"mount {target}")


def unmount(target: str, flags: int) -> None:
    _checked(_libc.umount2(target.encode(), flags), f"umount {target}")


def sethostname(name: bytes) -> None:
    _checked(_libc.sethostname(name, len(name)), "sethostname")


def drop_capabilities() -> None:
    """Give up every capability; no_new_privs and the ban on exec prevent getting any back."""
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)
    empty = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(header, empty), "capset")


def fork() -> int:
    """Fork without what Python does after a fork, which is a third of its cost.

    Safe only in a process of one thread. The `os.register_at_fork` handlers do not run, so `random`
    keeps its state.
    """
    return _checked(_with_gil.fork(), "fork")


def collapse(start: int, length: int) -> bool:
    """Ask for a huge page behind `start` (MADV_COLLAPSE, Linux 6.1); False where refused."""
    return bool(_libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), 25) == 0)
