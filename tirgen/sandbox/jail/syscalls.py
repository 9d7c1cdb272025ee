"""System call numbers of x86-64 and aarch64 for the names that the seccomp filter uses."""

from __future__ import annotations

import platform
from typing import NamedTuple


class Machine(NamedTuple):
    """What seccomp needs to know about a processor."""

    audit_arch: int
    numbers: dict[str, int]
    has_x32: bool
    """It has a second ABI, whose numbers have bit 30 set."""


# name: (x86-64, aarch64); aarch64 never had the calls marked None
_TABLE: dict[str, tuple[int, int | None]] = {
    # input and output
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66),
    "pread64": (17, 67), "pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70),
    "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62), "fstat": (5, 80),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None),
    "pipe2": (293, 59), "fcntl": (72, 25), "ioctl": (16, 29), "fsync": (74, 82),
    "fdatasync": (75, 83), "ftruncate": (77, 46), "fadvise64": (221, 223),
    # waiting
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None),
    "epoll_pwait": (281, 22), "eventfd2": (290, 19),
    # files, all of them under Landlock
    "open": (2, None), "openat": (257, 56), "stat": (4, None), "lstat": (6, None),
    "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "getdents64": (217, 61),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "rename": (82, None),
    "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34),
    "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35), "symlink": (88, None),
    "symlinkat": (266, 36), "readlink": (89, None), "readlinkat": (267, 78),
    "truncate": (76, 45), "statfs": (137, 43), "fstatfs": (138, 44), "umask": (95, 166),
    # memory
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216),
    "msync": (26, 227), "madvise": (28, 233), "brk": (12, 214),
    # threads
    "clone": (56, 220), "clone3": (435, 435), "fork": (57, None), "vfork": (58, None),
    "futex": (202, 98), "futex_waitv": (449, 449), "set_robust_list": (273, 99),
    "set_tid_address": (218, 96), "rseq": (334, 293), "gettid": (186, 178),
    "arch_prctl": (158, None), "prctl": (157, 167), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "wait4": (61, 260),
    "exit": (60, 93), "exit_group": (231, 94), "restart_syscall": (219, 128),
    # signals
    "kill": (62, 129), "tgkill": (234, 131), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132),
    "pause": (34, None), "alarm": (37, None), "getitimer": (36, 102), "setitimer": (38, 103),
    # clocks, identity, limits
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None),
    "times": (100, 153), "getpid": (39, 172), "getppid": (110, 173), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158),
    "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156), "uname": (63, 160),
    "sysinfo": (99, 179), "getrlimit": (97, 163), "prlimit64": (302, 261),
    "getrusage": (98, 165), "getpriority": (140, 141), "getrandom": (318, 278),
    # sessions only
    "recvmsg": (47, 212), "sendmsg": (46, 211),
    # for the sandbox itself, before the filter is installed
    "seccomp": (317, 277),
    "pivot_root": (155, 41),
}  # fmt: skip


X86_64 = Machine(0xC000_003E, {name: pair[0] for name, pair in _TABLE.items()}, has_x32=True)
AARCH64 = Machine(
    0xC000_00B7,
    {name: pair[1] for name, pair in _TABLE.items() if pair[1] is not None},
    has_x32=False,
)


def this_machine() -> Machine:
    """This machine's processor.

    Raises:
        OSError: it is neither x86-64 nor aarch64; without its numbers there is no jail.
    """
    known = {"x86_64": X86_64, "AMD64": X86_64, "aarch64": AARCH64, "arm64": AARCH64}
    name = platform.machine()
    if name not in known:
        raise OSError(f"no system call numbers for {name}: only x86-64 and aarch64 have a jail")
    return known[name]


def number(name: str) -> int:
    """The number of a call on this machine.

    Raises:
        OSError: the processor is neither x86-64 nor aarch64, or lacks the call.
    """
    numbers = this_machine().numbers
    if name not in numbers:
        raise OSError(f"{platform.machine()} has no system call {name}")
    return numbers[name]
