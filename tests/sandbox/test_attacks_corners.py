"""Attempts through rarer doors: questions about others, kernel memory, evil errors and sources."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="raw numbers of x86-64")

EVERY_PID = "for pid in set(range(1, 400)) | {os.getppid() or 1}:\n    if pid != os.getpid(): "


@pytest.mark.parametrize("size", [32_768, 1 << 20])
def test_thousands_of_small_threads_are_cut_short(run: Run, size: Any) -> None:
    """Each costs the kernel some thirty kilobytes that no limit of the process counts."""
    execution = run(
        "import _thread, time\n"
        f"_thread.stack_size({size})\n"
        "while True: _thread.start_new_thread(time.sleep, (99,))",
        memory_mb=2048,
        cpu_seconds=20,
        wall_seconds=20,
    )
    assert execution.outcome is Outcome.ERROR
    assert "more than 256 threads" in execution.stderr or "start new thread" in execution.stderr
    assert execution.cpu_ms < 4000


def test_a_pool_of_threads_is_innocent(run: Run) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(32) as pool: print(sum(pool.map(abs, range(1000))))"
    )
    assert run(code, memory_mb=1024).stdout == "499500\n"


@pytest.mark.parametrize(
    "question",
    [
        "forbidden('group', os.getpgid, pid)",
        "forbidden('session', os.getsid, pid)",
        "forbidden('priority', os.getpriority, os.PRIO_PROCESS, pid)",
        "forbidden('cores', os.sched_getaffinity, pid)",
        "forbidden('limits', resource.prlimit, pid, resource.RLIMIT_NOFILE)",
        "forbidden('clock', time.clock_gettime, (~pid << 3) | 2)",
        "forbidden('clock', time.clock_getres, (~pid << 3) | 2)",
    ],
)
def test_no_question_about_another_process_is_answered(
    holds: Callable[..., None], question: str
) -> None:
    holds(f"import resource, time\n{EVERY_PID}{question}")


def test_questions_about_oneself_are_answered(run: Run) -> None:
    execution = run(
        "import os, resource, time\n"
        "me = os.getpid()\n"
        "os.getpgid(0), os.getsid(me), os.getpriority(os.PRIO_PROCESS, 0)\n"
        "os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_AS)\n"
        "time.process_time(), time.thread_time(), time.monotonic(), time.time(), time.sleep(0)\n"
        "print('fine')"
    )
    assert execution.stdout == "fine\n"


def test_no_question_about_a_user(holds: Callable[..., None]) -> None:
    holds("forbidden('user', os.getpriority, os.PRIO_USER, 0)")


def test_truncation_by_path_is_refused_by_seccomp_itself(run: Run) -> None:
    """Landlock knows it only since Linux 6.2: before, nothing else would hold it in a pod."""
    execution = run(
        "import errno, os\n"
        "for path in ('/etc/hostname', '/nonexistent'):\n"
        "    try: os.truncate(path, 0)\n"
        "    except OSError as error: print(error.errno == errno.EPERM)"
    )
    assert execution.stdout == "True\nTrue\n"


def test_nothing_is_lost_in_the_null_device(run: Run) -> None:
    code = (
        "import contextlib, os\nwith open(os.devnull, 'w') as f:\n    print('x', file=f)\nprint(1)"
    )
    assert run(code).stdout == "1\n"


def test_no_device_but_null_is_written(holds: Callable[..., None]) -> None:
    holds(
        "for path in ('/dev/zero', '/dev/urandom', '/dev/shm/x', '/dev/mqueue/x', '/run/x'):\n"
        "    forbidden(path, os.open, path, os.O_WRONLY | os.O_CREAT)"
    )


def test_no_device_or_kernel_file_is_opened(holds: Callable[..., None]) -> None:
    holds(
        "for path in ('/dev/mem', '/dev/kmsg', '/dev/ptmx', '/dev/tty', '/dev/fuse', '/dev/kvm',\n"
        "             '/proc/kallsyms', '/proc/modules', '/proc/cmdline', '/proc/meminfo',\n"
        "             '/sys/class/net', '/sys/kernel/notes', '/sys/fs/cgroup', '/proc/self/mem'):\n"
        "    forbidden(path, os.open, path, os.O_RDONLY)\n"
        "    forbidden(path, os.listdir, path)"
    )


def test_no_pipe_of_another_process_is_reopened(holds: Callable[..., None]) -> None:
    holds(
        "for pid in (os.getppid() or 1, 1):\n"
        "    for fd in range(32): forbidden('fd', os.open, f'/proc/{pid}/fd/{fd}', os.O_RDONLY)"
    )


def test_pipes_and_locks_take_nothing_from_others(holds: Callable[..., None]) -> None:
    holds(
        "import fcntl\n"
        "reading, writing = os.pipe()\n"
        "for name, command, argument in (('size', 1031, 1 << 20), ('owner', 8, 1),\n"
        "        ('signal', 10, 9), ('lease', 1024, 1), ('notify', 1026, 1)):\n"
        "    forbidden(name, fcntl.fcntl, writing, command, argument)\n"
        "forbidden('lock', fcntl.lockf, writing, fcntl.LOCK_EX)\n"
        "forbidden('flock', fcntl.flock, writing, fcntl.LOCK_EX)"
    )


def test_no_attribute_owner_mode_or_time_is_set(holds: Callable[..., None]) -> None:
    holds(
        "forbidden('attribute', os.setxattr, '.', 'user.a', b'b')\n"
        "forbidden('attributes', os.listxattr, '/')\n"
        "forbidden('mode', os.chmod, '/', 0o777)\n"
        "forbidden('owner', os.chown, '/', 0, 0)\n"
        "forbidden('time', os.utime, '/')"
    )


def test_its_own_ground_cannot_be_removed(holds: Callable[..., None]) -> None:
    holds(
        "for path in ('/jail/scratch', '/jail', '/lib', '/dev/null', os.__file__):\n"
        "    forbidden(path, os.rmdir, path)\n"
        "    forbidden(path, os.unlink, path)\n"
        "    forbidden(path, os.rename, path, '/elsewhere')"
    )


@x86_64
def test_no_signal_is_queued_and_no_process_held_by_descriptor(holds: Callable[..., None]) -> None:
    holds(
        "parent = os.getppid() or 1\n"
        "forbidden('queue', raw, 129, parent, 9, 0)\n"
        "forbidden('thread queue', raw, 297, parent, parent, 9, 0)\n"
        "forbidden('pidfd', raw, 434, os.getpid(), 0)\n"
        "forbidden('pidfd signal', raw, 424, 1, 9, 0, 0)\n"
        "forbidden('execveat', raw, 322, -100, b'/bin/sh', 0, 0, 0)\n"
        "forbidden('memfd', os.memfd_create, 'x')"
    )


@x86_64
def test_every_system_call_yet_to_be_invented_is_refused(run: Run) -> None:
    """335 and 336 are probes that the kernel itself turns into a signal."""
    execution = run(
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for number in range(337, 1024):\n"
        "    if number in (435, 436, 439, 449): continue\n"
        "    ctypes.set_errno(0)\n"
        "    if libc.syscall(number, *[ctypes.c_long(-1)] * 6) != -1: print('breach', number)\n"
        "    if ctypes.get_errno() != errno.EPERM: print('let through', number)\n"
        "print('held')"
    )
    assert execution.stdout == "held\n"


@x86_64
@pytest.mark.parametrize(
    "code", [b"\xb8\x39\x00\x00\x00\x0f\x05\xc3", b"\xb8\x3a\x00\x00\x00\x0f\x05\xc3"]
)
def test_machine_code_of_ones_own_forks_no_more_than_python(run: Run, code: bytes) -> None:
    execution = run(
        "import ctypes, mmap\n"
        "m = mmap.mmap(-1, 4096, prot=7)\n"
        f"m.write({code!r})\n"
        "f = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\n"
        "print(f())"
    )
    assert execution.stdout == "-1\n"


@x86_64
@pytest.mark.parametrize(
    "code",
    [
        "import ctypes; ctypes.memset(id(1) - 100_000, 0, 1 << 20)",
        "import ctypes; ctypes.CDLL(None).syscall(335)",
        "import signal; signal.setitimer(signal.ITIMER_PROF, 1e-4, 1e-4)\nwhile True: pass",
    ],
)
def test_wrecking_itself_is_its_own_failure(run: Run, code: str) -> None:
    assert run(code, cpu_seconds=1).outcome in (Outcome.ERROR, Outcome.TIMEOUT)


@pytest.mark.parametrize(
    "code",
    [
        "e = None\nfor i in range(20_000):\n    n = ValueError(i); n.__cause__ = e; e = n\nraise e",
        "e = ValueError(1)\nfor i in range(5_000): e = ExceptionGroup('g', [e])\nraise e",
        "class E(Exception):\n    def __str__(self): return str(self)\nraise E()",
        "e = ValueError('x'); e.__cause__ = e; raise e",
        "class E(Exception):\n    __module__ = property(lambda self: 1 / 0)\nraise E",
        "class M(type):\n    def __getattribute__(self, name): raise ValueError\n"
        "class E(Exception, metaclass=M): pass\nraise E",
        "import traceback; traceback.format_exception = None; 1 / 0",
        "import linecache; linecache.cache = None; 1 / 0",
        "import sys; sys.stderr = None; 1 / 0",
    ],
)
def test_an_error_built_to_break_its_report_is_still_reported(run: Run, code: str) -> None:
    execution = run(code, cpu_seconds=8)
    assert execution.outcome is Outcome.ERROR
    assert "Error" in execution.stderr or "E" in execution.stderr
    assert "tirgen" not in execution.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import atexit, os\natexit.register(os.fork)",
        "import atexit\natexit.register(lambda: 1 / 0)",
        "class C:\n    def __del__(self): 1 / 0\nC()",
        "import sys\nprint(sys.orig_argv, sys.argv)",
    ],
)
def test_no_path_of_ours_is_shown_at_the_end_either(run: Run, code: str) -> None:
    execution = run(code)
    assert "tirgen" not in execution.stdout + execution.stderr
    assert "runner" not in execution.stderr


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "(" * 5_000 + "1" + ")" * 5_000,
        "x = " + "-" * 300_000 + "1",
        "x = a" + ".b" * 300_000,
        "x = " + "lambda:" * 5_000 + "1",
        "x = 1\0\nprint(2)",
        "\ud800",
        "if 0: pass\n" + "elif 0: pass\n" * 20_000,
    ],
    ids=["parentheses", "signs", "dots", "lambdas", "null", "surrogate", "branches"],
)
def test_a_source_built_to_break_the_compiler_is_its_own_error(run: Run, source: str) -> None:
    execution = run(source)
    assert (execution.outcome, execution.exit_code, execution.stdout) == (Outcome.ERROR, 1, "")


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.modules['os'].__dict__.clear()\nprint('x')",
        "import builtins; print('x'); builtins.__dict__.clear()",
        "import sys; print('x'); sys.stdout = sys.stderr = None; raise ValueError",
        "import sys; print('x'); sys.modules.clear(); 1 / 0",
        "import gc; print('x')\nfor o in gc.get_objects():\n"
        "    if type(o) is dict and 'Jail' in o: o.clear()",
    ],
)
def test_taking_the_interpreter_apart_forges_nothing(run: Run, code: str) -> None:
    execution = run(code)
    assert execution.stdout == "x\n"
    assert execution.outcome in (Outcome.OK, Outcome.ERROR)


def test_control_characters_are_only_text(run: Run) -> None:
    code = "import os; os.write(1, bytes(range(256)))"
    execution = run(code)
    assert execution.outcome is Outcome.OK
    assert execution.stdout.startswith("\0\x01\x02")


def test_stdout_can_neither_be_read_nor_rewound(holds: Callable[..., None]) -> None:
    holds("forbidden('read', os.read, 1, 10)\nforbidden('seek', os.lseek, 1, 0, 0)")


def test_sparse_files_do_not_fool_the_quota(holds: Callable[..., None], is_bare: bool) -> None:
    if is_bare:
        pytest.skip("the scratch of bare is watched, not limited: test_attacks_secrets")
    holds(
        "f = open('sparse', 'wb')\n"
        "forbidden('huge', f.truncate, 1 << 50)\n"
        "import errno\n"
        "try:\n"
        "    for n in range(10_000): os.mkdir(str(n))\n"
        "except OSError as error: full = error.errno == errno.ENOSPC\n"
        "if not full: print('breach: as many directories as one likes')"
    )


@pytest.mark.parametrize("flags", [0x22, 0x21, 0x122, 0x4022], ids=["own", "shared", "down", "no"])
def test_no_kind_of_mapping_escapes_the_memory_limit(run: Run, flags: int) -> None:
    execution = run(
        "import ctypes\n"
        "libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
        "n, size = 0, ctypes.c_size_t(16 << 20)\n"
        f"while libc.mmap(None, size, 3, {flags}, -1, 0) != 2**64 - 1: n += 1\n"
        "print(n)",
        memory_mb=256,
    )
    assert int(execution.stdout) <= 16
