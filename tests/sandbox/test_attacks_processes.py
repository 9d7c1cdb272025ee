from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="raw numbers of x86-64")


def test_no_process_can_be_started(holds: Callable[..., None]) -> None:
    holds(
        "import subprocess, multiprocessing\n"
        "forbidden('fork', os.fork)\n"
        "forbidden('forkpty', os.forkpty)\n"
        "forbidden('subprocess', subprocess.run, ['/bin/true'])\n"
        "forbidden('shell', subprocess.run, 'true', -1, None, None, None, None, None, True, True)\n"
        "forbidden('posix_spawn', os.posix_spawn, '/bin/true', ['true'], {})\n"
        "p = multiprocessing.get_context('fork').Process(target=print)\n"
        "forbidden('multiprocessing', p.start)"
    )


def test_os_system_runs_nothing(run: Run) -> None:
    execution = run("import os; print(os.system('echo breach') != 0)")
    assert execution.stdout == "True\n"


def test_no_program_can_replace_the_snippet(holds: Callable[..., None]) -> None:
    holds(
        "forbidden('execv', os.execv, '/bin/true', ['true'])\n"
        "forbidden('execv self', os.execv, sys.executable, ['python'])"
    )


@x86_64
def test_no_process_through_raw_system_calls(holds: Callable[..., None]) -> None:
    holds(
        "forbidden('fork', raw, 57)\n"
        "forbidden('vfork', raw, 58)\n"
        "forbidden('clone', raw, 56, 17, 0, 0, 0, 0)\n"
        "forbidden('clone3', raw, 435, bytes(88), 88)\n"
        "forbidden('execve', raw, 59, b'/bin/true', 0, 0)\n"
        "forbidden('execveat', raw, 322, -100, b'/bin/true', 0, 0, 0)"
    )


def test_a_fork_bomb_leaves_nothing_running(run: Run) -> None:
    execution = run(
        "import os\nfor _ in range(300):\n try: os.fork()\n except OSError: pass\nprint(1)"
    )
    assert execution.stdout == "1\n"


def test_no_daemon_detaches(holds: Callable[..., None]) -> None:
    holds("forbidden('setsid', os.setsid)\nforbidden('setpgid', os.setpgid, 0, 0)")


def test_no_signal_reaches_others(
    holds: Callable[..., None], victim: subprocess.Popen[bytes]
) -> None:
    holds(
        "for pid in (victim, os.getppid() or victim, -1, 0, -victim):\n"
        "    for number in (0, 9, 15, 19):\n"
        "        forbidden(f'kill {pid}', os.kill, pid, number)\n"
        "forbidden('killpg', os.killpg, 0, 9)\n"
        "forbidden('pidfd', os.pidfd_open, victim)",
        victim=victim.pid,
    )


def test_no_signal_to_any_guessed_process(
    holds: Callable[..., None], victim: subprocess.Popen[bytes]
) -> None:
    holds("for pid in range(2, 40_000): pid != os.getpid() and forbidden('kill', os.kill, pid, 9)")


def test_no_signal_by_descriptor_ownership(
    holds: Callable[..., None], victim: subprocess.Popen[bytes]
) -> None:
    holds(
        "import fcntl\n"
        "r, w = os.pipe()\n"
        "forbidden('F_SETOWN', fcntl.fcntl, r, fcntl.F_SETOWN, victim)\n"
        "forbidden('F_SETSIG', fcntl.fcntl, r, 10, 9)\n"
        "forbidden('FIOSETOWN', fcntl.ioctl, r, 0x8901, victim.to_bytes(4, 'little'))",
        victim=victim.pid,
    )


@x86_64
def test_no_signal_through_raw_system_calls(
    holds: Callable[..., None], victim: subprocess.Popen[bytes]
) -> None:
    holds(
        "forbidden('tkill', raw, 200, victim, 9)\n"
        "forbidden('tgkill', raw, 234, victim, victim, 9)\n"
        "forbidden('rt_sigqueueinfo', raw, 129, victim, 9, bytes(128))\n"
        "forbidden('rt_tgsigqueueinfo', raw, 297, victim, victim, 9, bytes(128))\n"
        "forbidden('pidfd_send_signal', raw, 424, 0, 9, 0, 0)",
        victim=victim.pid,
    )


@x86_64
def test_no_other_process_can_be_read_or_traced(
    holds: Callable[..., None], victim: subprocess.Popen[bytes]
) -> None:
    holds(
        "for pid in {victim, os.getppid() or victim}:\n"
        "    for request in (0, 16, 0x4206):\n"
        "        forbidden('ptrace', raw, 101, request, pid, 0, 0)\n"
        "    forbidden('vm_readv', raw, 310, pid, 0, 0, 0, 0, 0)\n"
        "    forbidden('vm_writev', raw, 311, pid, 0, 0, 0, 0, 0)\n"
        "    forbidden('madvise', raw, 440, 0, 0, 0, 0, 0)\n"
        "    forbidden('getfd', raw, 438, 0, 0, 0)\n"
        "    forbidden('kcmp', raw, 312, pid, os.getpid(), 0, 0, 0)\n"
        "    forbidden('mem', open, f'/proc/{pid}/mem', 'rb')",
        victim=victim.pid,
    )


def test_no_other_process_can_be_slowed_or_limited(
    holds: Callable[..., None], victim: subprocess.Popen[bytes]
) -> None:
    holds(
        "import resource\n"
        "forbidden('nice', os.nice, -5)\n"
        "forbidden('priority', os.setpriority, os.PRIO_PROCESS, victim, 19)\n"
        "forbidden('affinity', os.sched_setaffinity, victim, {0})\n"
        "forbidden('prlimit', resource.prlimit, victim, resource.RLIMIT_CPU, (1, 1))\n"
        "forbidden('prlimit read', resource.prlimit, victim, resource.RLIMIT_CPU)",
        victim=victim.pid,
    )


def test_limits_cannot_be_raised(holds: Callable[..., None]) -> None:
    holds(
        "import resource\n"
        "for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):\n"
        "    forbidden('raise', resource.setrlimit, kind, (1 << 40, 1 << 40))\n"
        "    forbidden('lower', resource.prlimit, 0, kind, (1, 1))"
    )


def test_the_death_of_the_parent_stays_noticed(holds: Callable[..., None]) -> None:
    holds("if libc.prctl(1, 0, 0, 0, 0) == 0: print('breach')")


def test_killing_itself_is_its_own_error(run: Run) -> None:
    for number in (6, 9, 11):
        execution = run(f"import os; print('x'); os.kill(os.getpid(), {number}); os.abort()")
        assert execution.outcome is Outcome.ERROR, number
        assert execution.stdout == "x\n"


def test_a_segmentation_fault_is_its_own_error(run: Run) -> None:
    execution = run("print('x')\nimport ctypes; ctypes.string_at(0)")
    assert (execution.outcome, execution.exit_code) == (Outcome.ERROR, -11)
    assert execution.stdout == "x\n"
