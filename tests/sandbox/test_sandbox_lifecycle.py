from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from benchmarks.soak import GROWTH_MB, Footprint, Tally, descendants, settled, soak
from storage.records import Outcome
from tirgen.sandbox import selftest
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.local import LocalSandbox, candidates
from tirgen.sandbox.modes import IsolationMode

LIMITS = Limits(cpu_seconds=4, wall_seconds=8, memory_mb=256)
HERE = Path(__file__).parent
x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="raw numbers of x86-64")


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def family() -> set[int]:
    return descendants(os.getpid())


def kill(processes: set[int]) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_dead(pid: int) -> bool:
    """Gone, or waiting only for us to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_the_strongest_mode_is_chosen_and_recorded() -> None:
    async with LocalSandbox() as sandbox:
        assert sandbox.mode.split()[0] == "zygote/1"
        assert IsolationMode(sandbox.mode.split()[1]).strength >= IsolationMode.BARE.strength
        active = {layer.name for layer in sandbox.layers if layer.active}
    assert {"seccomp", "landlock", "resource limits"} <= active


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """This process may open nothing, as under too many clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_process_out_of_descriptors_still_keeps_time_and_its_word() -> None:
    async with LocalSandbox(slots=2) as sandbox:
        before = len(os.listdir("/proc/self/fd"))
        limits = Limits(cpu_seconds=1, wall_seconds=0.5)
        late = asyncio.create_task(sandbox.run("import time; time.sleep(60)", limits))
        await asyncio.sleep(0.2)
        with no_more_descriptors():
            refused = await sandbox.run("print(1)", LIMITS)
            await asyncio.sleep(0.5)
        assert refused.outcome is Outcome.INFRA_ERROR
        assert "Too many open files" in refused.stderr
        assert (await late).outcome is Outcome.TIMEOUT
        assert len(os.listdir("/proc/self/fd")) == before
        assert (await sandbox.run("print(1)", LIMITS)).outcome is Outcome.OK


async def test_a_zygote_that_dies_is_replaced_and_its_snippets_run_again() -> None:
    others = family()
    async with LocalSandbox() as sandbox:
        running = asyncio.create_task(sandbox.run("import time; time.sleep(0.5); print(1)", LIMITS))
        await asyncio.sleep(0.2)
        kill(family() - others)
        assert (await running).outcome is Outcome.OK


async def test_a_zygote_found_dead_before_the_event_loop_heard_of_it_is_replaced() -> None:
    others = family()
    async with LocalSandbox() as sandbox:
        members = family() - others
        kill(members)
        assert wait_until(lambda: all(map(is_dead, members)))  # the loop stands still meanwhile
        assert (await sandbox.run("print(1)", LIMITS)).stdout == "1\n"
        assert sandbox.zygote_restarts == 1


@pytest.mark.slow
async def test_a_zygote_that_keeps_dying_is_a_fault_of_ours() -> None:
    others = family()
    async with LocalSandbox() as sandbox:
        running = asyncio.create_task(sandbox.run("import time; time.sleep(5)", LIMITS))
        while not running.done():
            await asyncio.sleep(0.5)
            kill(family() - others)
        execution = await running
    assert execution.outcome is Outcome.INFRA_ERROR
    assert execution.exit_code is None


@pytest.mark.parametrize(
    "mode",
    [IsolationMode.ROOT, IsolationMode.BARE] if os.geteuid() == 0 else [IsolationMode.USERNS],
)
def test_nothing_survives_a_supervisor_killed_hard(mode: Any) -> None:
    program = (
        "import asyncio, sys\n"
        "from tirgen.sandbox.contract import Limits\n"
        "from tirgen.sandbox.local import LocalSandbox\n"
        "async def main():\n"
        f"    async with LocalSandbox(mode='{mode}') as sandbox:\n"
        "        print('up', flush=True)\n"
        "        await sandbox.run('while True: pass', Limits(cpu_seconds=99, wall_seconds=99))\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        wait_until(lambda: len(descendants(process.pid)) >= 2)
        members = descendants(process.pid)
        process.kill()
    assert len(members) >= 2
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members))


async def test_leaving_the_sandbox_ends_everything() -> None:
    others = family()
    async with LocalSandbox() as sandbox:
        running = asyncio.create_task(sandbox.run("while True: pass", LIMITS))
        await asyncio.sleep(0.1)
        members = family() - others
    assert members
    assert (await running).outcome is Outcome.INFRA_ERROR
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def single() -> AsyncIterator[LocalSandbox]:
    """A sandbox with one slot."""
    async with LocalSandbox(slots=1) as sandbox:
        yield sandbox


@pytest.mark.asyncio(loop_scope="module")
async def test_a_caller_that_goes_away_frees_its_slot(single: LocalSandbox) -> None:
    long = Limits(cpu_seconds=60, wall_seconds=60)
    running = asyncio.create_task(single.run("while True: pass", long))
    await asyncio.sleep(0.2)
    running.cancel()
    async with asyncio.timeout(long.wall_seconds / 2):
        assert (await single.run("print(1)", LIMITS)).outcome is Outcome.OK


@pytest.mark.asyncio(loop_scope="module")
async def test_waiting_in_the_queue_counts_against_no_limit(single: LocalSandbox) -> None:
    short = Limits(cpu_seconds=1, wall_seconds=0.8)
    executions = await asyncio.gather(
        *(single.run("import time; time.sleep(0.3); print(1)", short) for _ in range(5))
    )
    assert [execution.outcome for execution in executions] == [Outcome.OK] * 5


@pytest.mark.asyncio(loop_scope="module")
async def test_first_come_is_first_served(single: LocalSandbox) -> None:
    order: list[int] = []

    async def one(number: int) -> None:
        await single.run("print(1)", LIMITS)
        order.append(number)

    await asyncio.gather(*(one(number) for number in range(20)))
    assert order == list(range(20))


async def test_waiting_for_a_core_counts_against_no_limit() -> None:
    """More busy snippets than cores: by the wall clock, each would be late."""
    cores = len(os.sched_getaffinity(0))
    code = "import time\nwhile time.process_time() < 0.4: pass\nprint(1)"
    short = Limits(cpu_seconds=2, wall_seconds=1)
    async with LocalSandbox(slots=4 * cores) as sandbox:
        executions = await asyncio.gather(*(sandbox.run(code, short) for _ in range(4 * cores)))
    assert {execution.outcome for execution in executions} == {Outcome.OK}
    assert max(execution.wall_ms for execution in executions) > 1000


async def check_soak(count: int) -> None:
    async with LocalSandbox(slots=8) as sandbox:
        await soak(sandbox, 20, Tally())
        before, tally = Footprint.take(), Tally()
        await soak(sandbox, count, tally)
        after = await settled(before.processes)
        assert tally.wrong == []
        assert tally.unstopped == []
        assert after[:3] == before[:3]
        assert max(before.growth_mb(after).values()) < GROWTH_MB


async def test_three_hundred_snippets_one_in_ten_hostile_leave_nothing_behind() -> None:
    await check_soak(300)


@pytest.mark.slow
async def test_a_long_soak_leaves_nothing_behind() -> None:
    """`python -m benchmarks soak` is the longest."""
    await check_soak(3000)


def test_below_the_floor_nothing_is_a_candidate() -> None:
    assert IsolationMode.POSIX not in candidates(IsolationMode.BARE)
    assert candidates(IsolationMode.USERNS)[-1] is IsolationMode.USERNS
    assert candidates(IsolationMode.POSIX)[-1] is IsolationMode.POSIX


async def test_the_posix_mode_runs_when_asked_for_by_name() -> None:
    async with LocalSandbox(mode="posix") as sandbox:
        assert sandbox.mode == "zygote/1 posix"
        assert not {layer.name for layer in sandbox.layers if layer.active} & {
            "seccomp",
            "landlock",
        }
        ok, late, big, wrong = await asyncio.gather(
            sandbox.run("print(6 * 7)", LIMITS),
            sandbox.run("while True: pass", Limits(cpu_seconds=1, wall_seconds=0.5)),
            sandbox.run("bytearray(8 << 30)", LIMITS),
            sandbox.run("print('x'); 1 / 0", LIMITS),
        )
    assert (ok.outcome, ok.stdout) == (Outcome.OK, "42\n")
    assert (late.outcome, big.outcome) == (Outcome.TIMEOUT, Outcome.OOM)
    assert (wrong.outcome, wrong.stdout) == (Outcome.ERROR, "x\n")
    assert 'File "<code>", line 1' in wrong.stderr


async def test_the_self_test_sees_a_sandbox_that_does_not_hold() -> None:
    async with LocalSandbox(mode="posix") as sandbox:
        found = await selftest.problems(sandbox.run, has_sympy=False)
    assert {"escaped: network", "escaped: fork", "escaped: foreign file"} <= set(found)


def start_where_the_kernel_refuses(*numbers: int) -> str:
    """What the sandbox says under a container's seccomp profile that refuses these calls."""
    process = subprocess.run(
        [sys.executable, str(HERE / "refusing_kernel.py"), *map(str, numbers)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return process.stdout.strip()


UNSHARE, SETNS, MOUNT, LANDLOCK = 272, 308, 165, 444


@x86_64
def test_without_namespaces_the_bare_mode_takes_over() -> None:
    assert start_where_the_kernel_refuses(UNSHARE, SETNS, MOUNT) == "zygote/1 bare 42"


@x86_64
def test_without_landlock_it_refuses_to_start() -> None:
    said = start_where_the_kernel_refuses(LANDLOCK)
    assert said.startswith("refused: no sandbox mode works on this machine")
    assert "Landlock is missing" in said
