from __future__ import annotations

import platform
from typing import Any

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="raw numbers of x86-64")

REFUSED = {
    "unshare": (272, 0x10000000),
    "setns": (308, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "chroot": (161, 0),
    "open_tree": (428, 0, 0, 0),
    "move_mount": (429, 0, 0, 0, 0, 0),
    "fsopen": (430, 0, 0),
    "fsmount": (432, 0, 0, 0),
    "mount_setattr": (442, 0, 0, 0, 0, 0),
    "setuid": (105, 0),
    "setgid": (106, 0),
    "setreuid": (113, 0, 0),
    "setresuid": (117, 0, 0, 0),
    "setgroups": (116, 0, 0),
    "setfsuid": (122, 0),
    "capset": (126, 0, 0),
    "io_uring_setup": (425, 8, 0),
    "io_uring_enter": (426, 0, 0, 0, 0, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "userfaultfd": (323, 0),
    "add_key": (248, 0, 0, 0, 0, 0),
    "request_key": (249, 0, 0, 0, 0),
    "keyctl": (250, 0, 0, 0, 0, 0),
    "ptrace_me": (101, 0, 0, 0, 0),
    "seccomp": (317, 1, 0, 0),
    "landlock": (444, 0, 0, 1),
    "open_by_handle_at": (304, 0, 0, 0),
    "name_to_handle_at": (303, 0, 0, 0, 0, 0),
    "fanotify_init": (300, 0, 0),
    "inotify_init": (294, 0),
    "memfd_create": (319, 0, 0),
    "memfd_secret": (447, 0),
    "shmget": (29, 0, 4096, 0o1777),
    "shmat": (30, 0, 0, 0),
    "msgget": (68, 0, 0o1777),
    "semget": (64, 0, 1, 0o1777),
    "mq_open": (240, 0, 0, 0, 0),
    "personality": (135, 0x0040000),
    "modify_ldt": (154, 0, 0, 0),
    "iopl": (172, 3),
    "ioperm": (173, 0, 1, 1),
    "syslog": (103, 3, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "finit_module": (313, 0, 0, 0),
    "reboot": (169, 0, 0, 0),
    "swapon": (167, 0, 0),
    "acct": (163, 0),
    "quotactl": (179, 0, 0, 0, 0),
    "sethostname": (170, 0, 0),
    "settimeofday": (164, 0, 0),
    "clock_settime": (227, 0, 0),
    "adjtimex": (159, 0),
    "mlockall": (151, 1),
    "mbind": (237, 0, 0, 0, 0, 0, 0),
    "migrate_pages": (256, 0, 0, 0, 0),
    "move_pages": (279, 0, 0, 0, 0, 0, 0),
    "sched_setscheduler": (144, 0, 0, 0),
    "sched_setattr": (314, 0, 0, 0),
    "ioprio_set": (251, 1, 0, 0),
    "splice": (275, 0, 0, 0, 0, 0, 0),
    "vmsplice": (278, 0, 0, 0, 0),
    "tee": (276, 0, 0, 0, 0),
    "timer_create": (222, 0, 0, 0),
    "lookup_dcookie": (212, 0, 0, 0),
    "mknod": (133, 0, 0, 0),
    "mknodat": (259, -100, 0, 0, 0),
    "prctl_dumpable": (157, 4, 1, 0, 0, 0),
    "prctl_ptracer": (157, 0x59616D61, -1, 0, 0, 0),
    "prctl_mm": (157, 35, 0, 0, 0, 0),
}


def test_the_kernel_refuses_every_call_that_could_lead_out(run: Run) -> None:
    execution = run(
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"for name, (number, *arguments) in {REFUSED}.items():\n"
        "    result = libc.syscall(number, *map(ctypes.c_long, arguments))\n"
        "    if (result, ctypes.get_errno()) != (-1, errno.EPERM): print('allowed', name)\n"
        "print('held')"
    )
    assert execution.stdout == "held\n"


@pytest.mark.parametrize("number", [0x40000000 + 39, 0x40000000 + 57, 0x7FFFFFFF])
def test_numbers_of_another_abi_end_the_snippet(run: Run, number: Any) -> None:
    execution = run(f"import ctypes; ctypes.CDLL(None).syscall({number}); print('breach')")
    assert (execution.outcome, execution.stdout) == (Outcome.ERROR, "")


def test_32_bit_system_calls_end_the_snippet(run: Run) -> None:
    """int 0x80 speaks the i386 ABI, whose numbers the filter would misread."""
    execution = run(
        "import ctypes, mmap\n"
        "m = mmap.mmap(-1, 4096, prot=7)\n"
        "m.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"
        "f = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\n"
        "print('breach', f())"
    )
    assert (execution.outcome, execution.stdout) == (Outcome.ERROR, "")


def test_no_privilege_is_left(run: Run) -> None:
    execution = run(
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(os.getuid() != 0, libc.prctl(39, 0, 0, 0, 0))"
    )
    assert execution.stdout == "True -1\n"  # prctl itself is refused
