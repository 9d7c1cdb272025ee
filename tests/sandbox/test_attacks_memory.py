from __future__ import annotations

import platform
from collections.abc import Callable

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="raw flags of x86-64")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("bytearray(8 << 30)", id="one block"),
        pytest.param("kept = []\nwhile True: kept.append(b'x' * (8 << 20))", id="many blocks"),
        pytest.param("import numpy; numpy.ones(1 << 30)", id="numpy"),
        pytest.param("[0] * (1 << 40)", id="list"),
        pytest.param("'%*d' % (1 << 33, 1)", id="format width"),
        pytest.param("x = 'a'\nwhile True: x += x", id="doubling string"),
        pytest.param(
            "import itertools; list(itertools.permutations(range(12)))", id="permutations"
        ),
        pytest.param("d = {}\nfor i in iter(int, 1): d[len(d)] = bytes(4096)", id="dictionary"),
        pytest.param("x = None\nwhile True: x = (x,)", id="nested tuples"),
        pytest.param("d = {}\nwhile True: d[len(d)] = str(len(d))", id="small objects"),
        pytest.param(
            "import sys; sys.setrecursionlimit(10**9)\ndef f(n): f(n + 1)\nf(0)", id="frames"
        ),
    ],
)
def test_memory_beyond_the_limit_is_out_of_memory(run: Run, code: str) -> None:
    # unwinding 160,000 frames without memory for their tracebacks takes seconds of the kernel's
    execution = run(code, cpu_seconds=20, wall_seconds=40)
    assert execution.outcome is Outcome.OOM
    assert execution.peak_memory_mb < 300


def test_a_source_too_long_for_its_memory_is_out_of_memory(run: Run) -> None:
    execution = run("x = '" + "a" * 60_000_000 + "'", memory_mb=32)
    assert execution.outcome is Outcome.OOM


@x86_64
def test_page_tables_without_end_are_cut_short(run: Run) -> None:
    """One page in each gigabyte of addresses: three times the memory that the limit counts."""
    execution = run(
        "import ctypes\n"
        "libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
        "size, private_fixed = ctypes.c_size_t(4096), 0x100022\n"
        "for n in range(60_000):\n"
        "    where = ctypes.c_void_p((1 << 44) + (n << 30))\n"
        "    page = libc.mmap(where, size, 3, private_fixed, -1, 0)\n"
        "    ctypes.c_char.from_address(page).value = b'x'\n"
        "print(n)",
        cpu_seconds=20,
        wall_seconds=20,
        memory_mb=1024,
    )
    assert (execution.outcome, execution.stdout) == (Outcome.OOM, "")
    assert "page tables" in execution.stderr


def test_page_tables_of_a_process_whose_leader_has_ended_are_cut_short_too(run: Run) -> None:
    """The status of a zombie shows no memory, while another thread fills it."""
    execution = run(
        "import ctypes, mmap, threading\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.mmap.restype = ctypes.c_void_p\n"
        "def fill():\n"
        "    threading.main_thread().join(0.5)\n"
        "    for n in range(60_000):\n"
        "        at = libc.mmap(ctypes.c_void_p((n + 256) << 30), 4096, 3, 0x100022, -1, 0)\n"
        "        ctypes.memset(at, 1, 1)\n"
        "    print('all of it', flush=True)\n"
        "    import os; os._exit(0)\n"
        "threading.Thread(target=fill).start()\n"
        "import os; libc.syscall(60 if os.uname().machine == 'x86_64' else 93, 0)",
        cpu_seconds=60,
        wall_seconds=60,
        memory_mb=1024,
    )
    assert (execution.outcome, execution.stdout) == (Outcome.OOM, "")
    assert "page tables" in execution.stderr


def test_shared_anonymous_memory_counts_too(holds: Callable[..., None]) -> None:
    holds("import mmap\nforbidden('mmap', mmap.mmap, -1, 4 << 30)")


def test_no_memory_outside_the_address_space(holds: Callable[..., None]) -> None:
    holds(
        "forbidden('memfd', os.memfd_create, 'm')\n"
        "forbidden('/dev/shm', open, '/dev/shm/m', 'w')\n"
        "forbidden('pinned', lambda: raw(149, ctypes.c_long(1 << 20), 4096) or 1)"
    )


def test_thread_bomb_ends_in_an_error_of_its_own(run: Run) -> None:
    execution = run(
        "import threading, time\n"
        "for _ in range(3000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    assert execution.outcome is Outcome.ERROR
    assert "can't start new thread" in execution.stderr


def test_endless_recursion_is_an_ordinary_error(run: Run) -> None:
    execution = run("def f(n): return f(n + 1)\nf(0)")
    assert execution.outcome is Outcome.ERROR
    assert execution.stderr.rstrip().endswith("maximum recursion depth exceeded")


def test_recursion_through_c_crashes_only_the_snippet(run: Run) -> None:
    execution = run(
        "import functools, sys\nsys.setrecursionlimit(10**9)\n"
        "@functools.lru_cache(None)\ndef f(n): return f(n + 1)\nf(0)"
    )
    assert execution.outcome in (Outcome.ERROR, Outcome.OOM)
    assert run("print(1)").outcome is Outcome.OK
