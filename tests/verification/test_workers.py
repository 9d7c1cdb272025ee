from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tirgen.verification import Verifier, VerifierUnavailable, WorkerLimits, verify
from tirgen.verification.pool import WorkerPool

ASKED = r"\prod_{k=1}^{9} (x+k)"
ENDLESS = r"\prod_{k=1}^{9999} (x+k)"
"""Expanding it takes minutes; no guard objects to it."""
SOON = WorkerLimits(cpu_seconds=1, wall_seconds=20, memory_mb=1024)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(1, SOON)
    yield pool
    pool.close()


def _children_of(parent: int) -> list[int]:
    """Of all its threads: children are listed under the thread that started them."""
    listings = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for listing in listings for pid in listing.read_text().split()]


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def _eventually(condition: object, seconds: float = 20) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_an_endless_comparison_is_a_timeout_and_the_worker_serves_on(pool: WorkerPool) -> None:
    verdict = pool.compare(ASKED, ENDLESS)
    assert (verdict.correct, verdict.method) == (False, "timeout")
    assert pool.compare(r"\sqrt{8}", r"2\sqrt{2}").correct


def test_a_greedy_comparison_is_stopped_by_its_memory_limit() -> None:
    """The leaf asks for a GiB where there is a variable: no answer is sure to, in any CPU time."""
    code = (
        "from tirgen.verification import worker\n"
        "from tirgen.verification.values import symbols\n"
        "real = worker.decide\n"
        "def greedy(gold, answer, exact_digits):\n"
        "    return real(gold, bytearray(2**30) if symbols(answer.node) else answer)\n"
        "worker.decide = greedy\n"
        "worker.main()\n"
    )
    pairs = [(r"(x+1)^2", "x^2+2x+1"), (r"\sqrt{8}", r"2\sqrt{2}")]
    limits = ["30", "600", "64"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *limits], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        methods = []
        for gold, answer in pairs:
            request = {"gold": gold, "answer": answer, "exact_digits": None}
            worker.stdin.write(json.dumps(request).encode() + b"\n")
            worker.stdin.flush()
            methods.append(json.loads(worker.stdout.readline())["method"])
        worker.stdin.close()
    assert methods == ["memory", "expression"]


def test_a_worker_killed_from_outside_is_replaced(pool: WorkerPool) -> None:
    assert pool.compare(r"\sqrt{8}", r"2\sqrt{2}").correct
    before = set(_children_of(os.getpid()))
    for pid in before:
        if b"tirgen.verification.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    assert pool.compare(r"\sqrt{18}", r"3\sqrt{2}").correct


def test_closing_leaves_no_process() -> None:
    pool = WorkerPool(1, SOON)
    before = set(_children_of(os.getpid()))
    assert pool.compare(r"\sqrt{8}", r"2\sqrt{2}").correct
    (worker,) = set(_children_of(os.getpid())) - before
    family = [worker, *_children_of(worker)]
    assert len(family) == 2
    pool.close()
    assert _eventually(lambda: all(_gone(pid) for pid in family))


def test_workers_die_with_a_client_that_is_killed() -> None:
    code = (
        "from tirgen.verification.pool import *\n"
        "pool = WorkerPool(1, WorkerLimits(cpu_seconds=60, wall_seconds=120))\n"
        "assert pool.compare(r'\\sqrt{8}', r'2\\sqrt{2}').correct\n"
        "print('ready', flush=True)\n"
        f"pool.compare(r'{ASKED}', r'{ENDLESS}')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        (worker,) = _children_of(client.pid)
        (child,) = _children_of(worker)
        client.kill()
    assert _eventually(lambda: _gone(worker) and _gone(child))


def test_verdicts_are_right_under_eight_threads() -> None:
    def check(n: int) -> bool:
        right = verify(rf"\sqrt{{{2 * n * n}}}", rf"\boxed{{{n}\sqrt{{2}}}}")
        wrong = verify(rf"\sqrt{{{2 * n * n}}}", rf"\boxed{{{n}\sqrt{{3}}}}")
        return right.correct and not wrong.correct

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(check, range(2, 26)))


async def test_the_blocking_call_works_inside_an_event_loop() -> None:
    assert verify(r"\sqrt{12}", r"\boxed{2\sqrt{3}}").correct


async def test_the_event_loop_stays_free_while_workers_are_busy() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async with Verifier(workers=1, limits=SOON) as verifier:
        ticker = asyncio.create_task(tick())
        verdict = await verifier.verify(ASKED, rf"\boxed{{{ENDLESS}}}")
        ticker.cancel()
    assert verdict.method == "timeout"
    assert ticks > 20


async def test_leaving_the_verifier_ends_what_is_under_way() -> None:
    patient = WorkerLimits(cpu_seconds=300, wall_seconds=600)
    async with Verifier(workers=1, limits=patient) as verifier:
        await verifier.verify(r"\sqrt{8}", r"\boxed{2\sqrt{2}}")
        task = asyncio.create_task(verifier.verify(ASKED, rf"\boxed{{{ENDLESS}}}"))
        await asyncio.sleep(0.5)
    with pytest.raises(VerifierUnavailable, match="closed"):
        await task


async def test_a_thousand_cheap_pairs_at_once_need_no_other_worker() -> None:
    async with Verifier() as verifier:
        before = set(_children_of(os.getpid()))
        verdicts = await asyncio.gather(
            *(verifier.verify(str(n), rf"\boxed{{{n}.0}}") for n in range(1000))
        )
        assert set(_children_of(os.getpid())) == before
    assert all(verdict.correct for verdict in verdicts)


async def test_the_same_pair_is_decided_once() -> None:
    async with Verifier(workers=1) as verifier:
        first = await verifier.verify(r"\sqrt{8}", r"\boxed{2\sqrt{2}}")
        again = await verifier.verify(r"\sqrt{8}", r"Hence it is \boxed{2\sqrt{2}}")
    assert again is first


async def test_announced_answers_are_accepted_where_a_dataset_has_no_boxes() -> None:
    async with Verifier(require_box=False) as verifier:
        assert (await verifier.verify("12", "so it is 12\nA: 12")).correct
        assert not (await verifier.verify("12", "so it is 13\nA: 13")).correct


def test_a_forked_process_has_workers_of_its_own() -> None:
    assert verify(r"\sqrt{8}", r"\boxed{2\sqrt{2}}").correct
    code = (
        "import os\n"
        "from tirgen import verify\n"
        "assert verify(r'\\sqrt{8}', r'\\boxed{2\\sqrt{2}}').correct\n"
        "pid = os.fork()\n"
        "right = verify(r'\\sqrt{18}', r'\\boxed{3\\sqrt{2}}').correct\n"
        "if pid == 0:\n    os._exit(0 if right else 1)\n"
        "assert right and os.waitpid(pid, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_importing_the_verifier_does_not_import_sympy() -> None:
    code = (
        "import sys; from tirgen import verify; "
        "assert verify('1/2', r'\\boxed{0.5}').correct; "
        "assert not {'sympy', 'math_verify'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
