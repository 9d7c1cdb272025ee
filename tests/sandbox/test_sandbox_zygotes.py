from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from storage.records import Outcome
from tirgen.sandbox import cgroups, client
from tirgen.sandbox.cgroups import Cgroup, NotDelegated
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.interpreter import Interpreter
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.modes import IsolationMode
from tirgen.sandbox.slots import TRAJECTORY, FairSlots

LIMITS = Limits(cpu_seconds=4, wall_seconds=8, memory_mb=256)
UNIFIED = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]


def children(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child, *children(child)}
    return found


async def test_a_zygote_that_hangs_is_killed_and_its_snippets_run_again() -> None:
    others = children(os.getpid())
    async with LocalSandbox(patience=1.0) as sandbox:
        zygotes = children(os.getpid()) - others
        for pid in zygotes:
            os.kill(pid, signal.SIGSTOP)
        executions = await asyncio.gather(*(sandbox.run(f"print({n})", LIMITS) for n in range(4)))
        assert [execution.stdout for execution in executions] == ["0\n", "1\n", "2\n", "3\n"]
        assert sandbox.zygote_restarts == 1
        assert not zygotes & children(os.getpid())


async def test_a_zygote_that_hangs_while_a_snippet_runs_is_noticed_too() -> None:
    others = children(os.getpid())
    async with LocalSandbox(patience=1.0) as sandbox:
        zygotes = children(os.getpid()) - others
        running = asyncio.create_task(sandbox.run("import time; time.sleep(1); print(1)", LIMITS))
        await asyncio.sleep(0.5)
        for pid in zygotes:
            os.kill(pid, signal.SIGSTOP)
        assert (await running).stdout == "1\n"
        assert sandbox.zygote_restarts == 1


@pytest.mark.parametrize(
    "mode",
    [IsolationMode.ROOT, IsolationMode.BARE] if os.geteuid() == 0 else [IsolationMode.USERNS],
)
async def test_a_worn_zygote_is_retired_without_a_snippet_lost(
    mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = children(os.getpid())
    async with LocalSandbox(mode=mode) as sandbox:
        first = children(os.getpid()) - others
        monkeypatch.setattr(client, "WORN_AFTER_SNIPPETS", 20)
        monkeypatch.setattr(client, "WEIGH_EVERY", 10)
        slow = asyncio.create_task(sandbox.run("import time; time.sleep(2); print('slow')", LIMITS))
        for number in range(30):
            execution = await sandbox.run(f"print({number})", LIMITS)
            assert execution.stdout == f"{number}\n"
        deadline = time.monotonic() + 180  # a zygote starts slowly on a busy machine
        while sandbox.zygote_retirements == 0 and time.monotonic() < deadline:
            await sandbox.run("print(1)", LIMITS)
        monkeypatch.undo()
        assert sandbox.zygote_retirements == 1
        assert sandbox.zygote_restarts == 0
        assert (await slow).stdout == "slow\n"
        await asyncio.sleep(1)
        assert not first & children(os.getpid())


async def test_a_zygote_that_has_grown_is_worn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalSandbox() as sandbox:
        monkeypatch.setattr(client, "WEIGH_EVERY", 1)
        assert (await sandbox.run("print(1)", LIMITS)).outcome is Outcome.OK
        assert sandbox.zygote_retirements == 0
        monkeypatch.setattr(client, "WORN_AFTER_BYTES", -(1 << 40))
        deadline = time.monotonic() + 180  # a zygote starts slowly on a busy machine
        while sandbox.zygote_retirements == 0 and time.monotonic() < deadline:
            assert (await sandbox.run("print(1)", LIMITS)).outcome is Outcome.OK
        monkeypatch.undo()
        assert sandbox.zygote_retirements == 1


async def test_an_unwarmed_zygote_serves_at_once_and_a_warmed_one_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `jail.warm` uses of sympy stays loaded in every later snippet."""
    pytest.importorskip("sympy")
    monkeypatch.setattr(client, "WARM_AFTER_SNIPPETS", 6)
    is_warm = "import sys; print('sympy.integrals.risch' in sys.modules)"
    async with LocalSandbox(warmed=False) as sandbox:
        assert (await sandbox.run(is_warm, LIMITS)).stdout == "False\n"
        deadline = time.monotonic() + 180  # a zygote starts slowly on a busy machine
        while (await sandbox.run(is_warm, LIMITS)).stdout == "False\n":
            assert time.monotonic() < deadline
        assert (sandbox.zygote_retirements, sandbox.zygote_restarts) == (0, 0)


async def test_a_trajectory_with_a_thousand_snippets_starves_no_other() -> None:
    async with LocalSandbox(slots=1) as sandbox:
        order: list[str] = []

        async def one(name: str) -> None:
            await sandbox.run("", LIMITS)
            order.append(name)

        async def trajectory(name: str, count: int) -> None:
            TRAJECTORY.set(name)
            await asyncio.gather(*(one(name) for _ in range(count)))

        greedy = asyncio.create_task(trajectory("greedy", 1000))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(trajectory("modest", 3), trajectory("humble", 3))
        assert len(order) <= 12
        greedy.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await greedy


async def test_slots_go_in_turn_and_none_is_lost_to_those_who_leave() -> None:
    slots = FairSlots(1)
    order: list[str] = []

    async def one(name: str) -> None:
        async with slots.hold(name):
            order.append(name)
            await asyncio.sleep(0)

    async with slots.hold("first"):
        waiting = [asyncio.create_task(one(name)) for name in "aaabcb"]
        await asyncio.sleep(0)
        assert slots.waiting == 6
        waiting[1].cancel()
        await asyncio.sleep(0)
    await asyncio.wait(waiting)
    assert order == ["a", "b", "c", "a", "b"]
    assert slots.waiting == 0
    async with asyncio.timeout(1), slots.hold("again"):
        pass


async def test_a_slot_given_to_one_who_just_left_goes_on() -> None:
    slots = FairSlots(1)

    async def one() -> None:
        async with slots.hold("x"):
            await asyncio.sleep(60)

    async with slots.hold("first"):
        leaving = asyncio.create_task(one())
        await asyncio.sleep(0)
    leaving.cancel()  # after the slot was given, before the task could take it
    await asyncio.wait([leaving])
    async with asyncio.timeout(1), slots.hold("next"):
        pass


@pytest.mark.parametrize("slots", [0, -1])
def test_no_slots_are_refused(slots: int) -> None:
    with pytest.raises(ValueError, match="at least one program must run at once"):
        LocalSandbox(slots=slots)


def proc(tmp_path: Path, mounts: str, cgroup: str) -> Path:
    """What /proc says of another machine."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mounts").write_text(mounts)
    (tmp_path / "self/cgroup").write_text(cgroup)
    return tmp_path


def test_without_cgroup_2_nothing_is_delegated(tmp_path: Path) -> None:
    with pytest.raises(NotDelegated, match="no cgroup v2 is mounted"):
        cgroups.own_subtree(proc(tmp_path, "cgroup /c cgroup rw 0 0\n", "4:memory:/\n"))


def test_a_missing_controller_is_named(tmp_path: Path) -> None:
    (tmp_path / "v2/mine").mkdir(parents=True)
    (tmp_path / "v2/mine/cgroup.controllers").write_text("cpu pids\n")
    there = proc(tmp_path, f"cgroup2 {tmp_path}/v2 cgroup2 rw 0 0\n", "0::/mine\n")
    with pytest.raises(NotDelegated, match="has no memory controller"):
        cgroups.own_subtree(there)


def test_our_own_part_is_found(tmp_path: Path) -> None:
    (tmp_path / "v2/mine").mkdir(parents=True)
    (tmp_path / "v2/mine/cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "v2/mine/cgroup.procs").write_text("")
    there = proc(tmp_path, f"cgroup2 {tmp_path}/v2 cgroup2 rw 0 0\n", "0::/mine\n")
    assert cgroups.own_subtree(there) == tmp_path / "v2/mine"


async def test_zygote_and_snippets_live_in_the_group() -> None:
    """Membership needs no controllers, so any version 2 hierarchy will do."""
    roots = [root for root in UNIFIED if (root / "cgroup.procs").exists()]
    if os.geteuid() or not roots:
        pytest.skip("needs root and a mounted cgroup v2")
    group = Cgroup.create(roots[0], {})
    try:
        zygote = await client.ZygoteClient.start(
            IsolationMode.BARE, Interpreter.find(), group=group
        )
        members = (group.path / "cgroup.procs").read_text().split()
        await zygote.close()
    finally:
        group.close()
    assert len(members) == 1
    assert not group.path.exists()


async def test_the_layers_say_whether_there_is_a_group() -> None:
    async with LocalSandbox() as sandbox:
        (layer,) = (x for x in sandbox.layers if x.name.startswith("memory of all"))
    assert layer.active or "not by a cgroup (" in layer.meaning


def test_having_stepped_aside_our_part_is_still_the_whole(tmp_path: Path) -> None:
    (tmp_path / "v2/mine").mkdir(parents=True)
    (tmp_path / "v2/mine/cgroup.controllers").write_text("memory pids\n")
    (tmp_path / "v2/mine/cgroup.procs").write_text("")
    cgroup = "0::/mine/tirgen-supervisor\n"
    there = proc(tmp_path, f"cgroup2 {tmp_path}/v2 cgroup2 rw 0 0\n", cgroup)
    assert cgroups.own_subtree(there) == tmp_path / "v2/mine"
