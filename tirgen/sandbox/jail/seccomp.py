"""The system calls a snippet may make, as a classic BPF allow-list built once in the zygote.

Everything not listed fails with EPERM: no new process or program, no socket, no signal to others,
no ptrace, no mount, no key ring, no io_uring, no change of mode or owner, no query about another
process, no truncation by path, which Landlock knows only since Linux 6.2. Numbers of another
architecture or of x32 kill the process. The filter is a binary search over the numbers: the kernel
tries every number when the filter is installed, which takes 0.2 ms with a list.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from tirgen.sandbox.jail import libc
from tirgen.sandbox.jail.syscalls import Machine, number

# Calls allowed with any argument: files (Landlock decides which), memory, threads' locks, the
# process's own signal handlers and timers, its own identity and usage.
_FREELY = [
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "close",
    "close_range", "lseek", "fstat", "dup", "dup2", "dup3", "pipe", "pipe2", "fsync",
    "fdatasync", "ftruncate", "fadvise64", "poll", "ppoll", "select", "pselect6",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "open", "openat",
    "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "getdents64",
    "getcwd", "chdir", "fchdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir",
    "unlink", "unlinkat", "symlink", "symlinkat", "readlink", "readlinkat",
    "statfs", "fstatfs", "umask", "mmap", "mprotect", "munmap", "mremap", "msync", "madvise",
    "brk", "futex", "futex_waitv", "set_robust_list", "set_tid_address", "rseq", "gettid",
    "arch_prctl", "getcpu", "wait4", "exit", "exit_group",
    "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending",
    "rt_sigtimedwait", "rt_sigsuspend", "sigaltstack", "pause", "alarm", "getitimer",
    "setitimer", "nanosleep", "gettimeofday", "time", "times", "getpid", "getppid", "getuid",
    "geteuid", "getgid", "getegid", "getgroups", "getpgrp", "uname", "sysinfo", "getrlimit",
    "getrusage", "getrandom",
]  # fmt: skip

_FCNTL = (0, 1, 2, 3, 4, 1030, 1032)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. Stops file locks, and
F_SETOWN and F_SETSIG, which send signals to other processes."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what files and isatty() use. Stops
TIOCSTI, which types into a terminal, and requests to device drivers."""
_PRCTL = (15, 16)
"""PR_SET_NAME, PR_GET_NAME. Stops changing seccomp, dumpability and the parent-death signal."""
_CLOCKS = tuple(range(12))
"""Those with a fixed number. Stops the others, which are CPU times of any process by its pid."""
_CLOCK_CALLS = ("clock_gettime", "clock_getres", "clock_nanosleep")
_CLONE_THREAD = 0x0001_0000
_CLONE_NEW_ANYTHING = 0x7E02_0080
"""All CLONE_NEW* flags: stops new namespaces, whose owner has capabilities inside."""
_SIGKILL = 9

_ALLOW, _ASK, _KILL = 0x7FFF_0000, 0x7FC0_0000, 0x8000_0000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF (ask the supervisor), SECCOMP_RET_KILL_PROCESS."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _JUMP, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
"""BPF: load a word of the call; jump if equal, if at least, if any bit is set, always; return."""
_FARTHEST_BRANCH = 255
_FIRST_X32_NUMBER = 0x4000_0000
_OFFSET_NUMBER, _OFFSET_ARCH = 0, 4
_OWN_PID = 0x5B5B_5B5B
"""Stands in the prepared filter where each child writes its own pid."""

Program = list[bytes]
Rules = dict[str, Program]
"""The program that decides each call, by name; each path through it must return."""


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFF_FFFF)


def _load_argument(index: int, high: bool = False) -> bytes:
    return _op(_LOAD, 16 + 8 * index + 4 * high)


def _deny(error: int) -> bytes:
    return _op(_RETURN, 0x0005_0000 | error)


_PERMIT = _op(_RETURN, _ALLOW)
_REFUSE = _deny(errno.EPERM)
_KILLING = _op(_RETURN, _KILL)


def _one_of(argument: int, values: tuple[int, ...], refusal: bytes) -> Program:
    checks = [op for value in values for op in (_op(_EQUAL, value, 0, 1), _PERMIT)]
    return [_load_argument(argument), *checks, refusal]


def _own_pid_only(signal_argument: int) -> Program:
    """Stops signals to other processes. SIGKILL to itself becomes SIGSYS, so that a SIGKILL always
    comes from the supervisor or the kernel."""
    return [
        _load_argument(0),
        _op(_EQUAL, _OWN_PID, 1, 0),
        _REFUSE,
        _load_argument(signal_argument),
        _op(_EQUAL, _SIGKILL, 0, 1),
        _KILLING,
        _PERMIT,
    ]


def _threads_or(otherwise: bytes) -> Program:
    """`clone` may make threads; `otherwise` decides about processes. Stops new namespaces."""
    return [
        _load_argument(0),
        _op(_ANY_BIT, _CLONE_NEW_ANYTHING, 0, 1),
        _REFUSE,
        _op(_ANY_BIT, _CLONE_THREAD, 1, 0),
        otherwise,
        _PERMIT,
    ]


def _common_rules(freely: list[str], otherwise_than_thread: bytes) -> Rules:
    # Stops prlimit64 of another process, and new limits (a pointer of two words).
    read_limits_only = [
        _load_argument(0),
        _op(_EQUAL, 0, 1, 0),
        _REFUSE,
        _load_argument(2),
        _op(_EQUAL, 0, 1, 0),
        _REFUSE,
        _load_argument(2, high=True),
        _op(_EQUAL, 0, 1, 0),
        _REFUSE,
        _PERMIT,
    ]
    own = (0, _OWN_PID)
    return {
        **{call: [_PERMIT] for call in freely},
        "clone": _threads_or(otherwise_than_thread),
        "clone3": [
            _deny(errno.ENOSYS)
        ],  # its flags are in memory, which BPF cannot read; glibc falls back to clone
        "sched_yield": [
            _deny(0)
        ],  # no effect: a snippet cannot starve itself by giving its core away
        "prlimit64": read_limits_only,
        # stops queries about other processes
        "getpgid": _one_of(0, own, _REFUSE),
        "getsid": _one_of(0, own, _REFUSE),
        "sched_getaffinity": _one_of(0, own, _REFUSE),
        "getpriority": [
            _load_argument(0),
            _op(_EQUAL, 0, 1, 0),  # of a process, not of a user
            _REFUSE,
            *_one_of(1, own, _REFUSE),
        ],
        **{call: _one_of(0, _CLOCKS, _deny(errno.EINVAL)) for call in _CLOCK_CALLS},
        "fcntl": _one_of(1, _FCNTL, _deny(errno.EINVAL)),
        "ioctl": _one_of(1, _IOCTL, _deny(errno.ENOTTY)),
        "prctl": _one_of(0, _PRCTL, _REFUSE),
    }


def _assembled(rules: Rules, machine: Machine) -> Program:
    """The whole filter; calls that the machine does not have are left out."""
    deciders = {machine.numbers[name]: rules[name] for name in rules if name in machine.numbers}
    spans = _spans(deciders)
    if machine.has_x32:
        spans.append((_FIRST_X32_NUMBER, [_KILLING]))
    return [
        _op(_LOAD, _OFFSET_ARCH),
        _op(_EQUAL, machine.audit_arch, 1, 0),
        _KILLING,
        _op(_LOAD, _OFFSET_NUMBER),
        *_search(spans),
    ]


def _spans(deciders: dict[int, Program]) -> list[tuple[int, Program]]:
    """First number and program of each range of numbers with the same program, from 0 upwards."""
    spans: list[tuple[int, Program]] = []
    for first in sorted({0, *deciders, *(decided + 1 for decided in deciders)}):
        program = deciders.get(first, [_REFUSE])
        if not spans or spans[-1][1] != program:
            spans.append((first, program))
    return spans


def _search(spans: list[tuple[int, Program]]) -> Program:
    if len(spans) == 1:
        return spans[0][1]
    middle = len(spans) // 2
    below, above = _search(spans[:middle]), _search(spans[middle:])
    pivot = spans[middle][0]
    if len(below) <= _FARTHEST_BRANCH:
        return [_op(_AT_LEAST, pivot, len(below), 0), *below, *above]
    return [_op(_AT_LEAST, pivot, 0, 1), _op(_JUMP, len(below)), *below, *above]


def for_snippet(machine: Machine) -> Program:
    """For a process that never forks; `Filter` replaces `_OWN_PID`."""
    rules = {
        **_common_rules(_FREELY, _REFUSE),
        "kill": _own_pid_only(signal_argument=1),
        "tgkill": _own_pid_only(signal_argument=2),
    }
    return _assembled(rules, machine)


def for_session(machine: Machine) -> Program:
    """Each fork asks the supervisor, which permits those it ordered; no signals at all."""
    rules = _common_rules([*_FREELY, "recvmsg", "sendmsg"], _op(_RETURN, _ASK))
    return _assembled(rules, machine)


class Filter:
    """A prepared filter; installing it costs a child two writes and one system call."""

    def __init__(self, program: Program) -> None:
        code = b"".join(program)
        self._code = ctypes.create_string_buffer(code, len(code))
        self._pid_offsets = [
            8 * index + 4
            for index, op in enumerate(program)
            if op[4:] == struct.pack("=I", _OWN_PID)
        ]
        header = struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(self._code))
        self._header = ctypes.create_string_buffer(header, len(header))

    def install(self) -> None:
        """Apply the filter to this process for good; needs no_new_privs."""
        for offset in self._pid_offsets:
            struct.pack_into("=I", self._code, offset, os.getpid())
        libc.prctl(libc.PR_SET_SECCOMP, 2, self._header)

    def install_with_listener(self) -> int:
        """The same; returns the descriptor on which the supervisor is asked about each fork."""
        set_filter, new_listener = ctypes.c_uint(1), ctypes.c_uint(1 << 3)
        return libc.syscall(
            number("seccomp"), set_filter, new_listener, self._header, what="seccomp listener"
        )
