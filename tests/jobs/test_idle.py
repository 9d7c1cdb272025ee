"""The idle ledger: the reasons add up to the slots, and name what a job really waits for."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.idle import REASONS, IdleLog
from storage.sql import query
from tests.engine.simulated import Server, now, pool_of, simulate
from tirgen.engine.live_trajectory import Activity, LiveTrajectory
from tirgen.engine.pool import Pool, Replica
from tirgen.engine.retry import RetryPolicy
from tirgen.jobs.idle import IdleLedger, SlotUsage


def watched(
    log: IdleLog, *pools: Pool[Server], begins: bool = False
) -> tuple[IdleLedger, Counter[Activity]]:
    working = Counter[Activity]()
    named = {f"role {number}": pool for number, pool in enumerate(pools)}
    return IdleLedger(named, working, lambda: begins, log), working


async def live(pool: Pool[Server], working: Counter[Activity], seconds: float) -> None:
    """A trajectory: four requests, with a program of so many seconds after each."""
    trajectory = LiveTrajectory(working)
    with trajectory.work():
        for _ in range(4):
            await pool.run(Server.ask)
            with trajectory.at(Activity.SANDBOX):
                await asyncio.sleep(seconds)


async def looking(ledger: IdleLedger) -> None:
    while True:
        await asyncio.sleep(0.01)
        ledger.look(0.01, int(now()))


def test_slots_are_busy_or_have_a_reason(tmp_path: Path) -> None:
    """Half of the time in programs, as many trajectories as slots, then a single straggler."""

    async def work() -> SlotUsage:
        pool = pool_of(Server(slots=8, seconds=0.25), concurrency=8)
        ledger, working = watched(IdleLog(tmp_path, "1"), pool)
        eye = asyncio.create_task(looking(ledger))
        await asyncio.gather(*(live(pool, working, 0.25) for _ in range(8)))
        await live(pool, working, 0.0)
        eye.cancel()
        ledger.close()
        return ledger.usage["role 0"]

    usage = simulate(work())
    shares = dict(usage.reasons())
    assert usage.busy + sum(shares.values()) == pytest.approx(1, abs=1e-6)
    assert usage.busy == pytest.approx((0.5 * 2 + 1 / 8) / 3, abs=0.02)
    assert shares["sandbox"] == pytest.approx(0.5 * 2 / 3, abs=0.02)
    assert shares["stragglers"] == pytest.approx(7 / 8 / 3, abs=0.02)


def test_the_other_role_and_back_off_are_reasons(tmp_path: Path) -> None:
    async def work() -> dict[str, SlotUsage]:
        actor, critic = pool_of(Server(slots=4, seconds=1), concurrency=4), pool_of(Server())
        server = critic.replicas[0].client
        server.per_minute = 5
        ledger, working = watched(IdleLog(tmp_path, "1"), actor, critic)
        eye = asyncio.create_task(looking(ledger))

        async def both() -> None:
            with LiveTrajectory(working).work():
                await actor.run(Server.ask)
                await critic.run(Server.ask)

        await asyncio.gather(*(both() for _ in range(12)))
        eye.cancel()
        return ledger.usage

    usage = simulate(work())
    assert usage["role 0"].reasons()[0][0] in ("other_engine", "stragglers")
    assert dict(usage["role 0"].reasons())["other_engine"] > 0.3
    assert dict(usage["role 1"].reasons())["back_off"] > 0.1


def test_roles_that_share_servers_are_one_engine(tmp_path: Path) -> None:
    async def work() -> None:
        pool = pool_of(Server())
        [replica] = pool.replicas
        other = Pool([Replica(replica.client, replica.gate)], RetryPolicy())
        ledger, _ = watched(IdleLog(tmp_path, "1"), pool, other)
        ledger.look(1.0, 0)
        assert list(ledger.usage) == ["role 0, role 1"]
        assert ledger.usage["role 0, role 1"].reasons() == [("no_work", 1.0)]

    simulate(work())


def test_sql_finds_the_seconds_of_a_run_and_passes_over_a_torn_line(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = store.open_run("made", {}, "h" * 16)
    assert query(store, "select * from idle").num_rows == 0

    log = IdleLog(run.folder, "7-1.5")

    async def work() -> None:
        pool = pool_of(Server(slots=8, seconds=0.25), concurrency=8)
        ledger, working = watched(log, pool, begins=True)
        eye = asyncio.create_task(looking(ledger))
        await asyncio.gather(*(live(pool, working, 0.25) for _ in range(4)))
        eye.cancel()
        ledger.close()

    simulate(work())
    with (run.folder / "idle" / "7-1.5.jsonl").open("a") as file:
        file.write('{"roles": "ro')
    reasons = " + ".join(REASONS)
    rows = query(
        store,
        f"select run, call, roles, sum(slots) as slots, sum(busy + {reasons}) as known, "
        "max(job_limits) as limited, count(*) as n from idle where dataset = 'made' group by all",
    ).to_pylist()
    assert len(rows) == 1
    assert (rows[0]["run"], rows[0]["call"], rows[0]["roles"]) == ("h" * 16, "7-1.5", "role 0")
    assert rows[0]["known"] == pytest.approx(rows[0]["slots"], rel=1e-3)
    assert rows[0]["limited"] > 0
    assert rows[0]["n"] in (2, 3)
