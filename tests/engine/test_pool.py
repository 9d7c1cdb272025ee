"""Replicas and rate limits, on servers and a clock that are simulated."""

from __future__ import annotations

import asyncio
from itertools import groupby

import pytest

from tests.engine.simulated import Server, many, now, pool_of, simulate, trajectory
from tirgen.engine.errors import EngineMisconfigured, EngineUnavailable
from tirgen.engine.gate import Gate
from tirgen.engine.live_trajectory import LiveTrajectory
from tirgen.engine.pool import Pool, Replica
from tirgen.engine.retry import RetryPolicy, Trouble


def moves(places: list[str]) -> int:
    """How often a trajectory changed its replica."""
    return len(list(groupby(places))) - 1


def test_a_trajectory_stays_on_one_replica_and_the_load_is_even() -> None:
    async def work() -> None:
        servers = [Server(name) for name in "abcd"]
        made = await many(pool_of(*servers), 512, live=160)
        assert sum(map(moves, made)) == 0
        loads = [server.answered for server in servers]
        assert sum(loads) == 512 * 8
        assert max(loads) < 1.1 * min(loads)

    simulate(work())


def test_a_killed_replica_loses_nothing_and_the_others_bear_what_they_can() -> None:
    """Nine tenths of what two of three servers can do, from the kill to the end."""

    async def work() -> None:
        servers = [Server(name) for name in "abc"]
        pool = pool_of(*servers)
        asyncio.get_running_loop().call_later(1.0, servers[0].kill)
        made = await many(pool, 1000, live=144)
        assert [len(places) for places in made] == [8] * 1000
        left = 1000 * 8 - servers[0].answered
        fastest = 1.0 + (left - 2 * 320) * 0.1 / (2 * 32)
        assert now() < 1.1 * fastest
        assert servers[0].asked - servers[0].answered < 60, "it is tried again, but seldom"

    simulate(work())


def test_a_replica_that_comes_back_is_used_again() -> None:
    async def work() -> None:
        servers = [Server(name) for name in "ab"]
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, servers[0].kill)
        loop.call_later(10.0, servers[0].start_again)
        await many(pool_of(*servers), 3000, live=96)
        late = servers[0].answered - 320
        assert late > 0.3 * 3000 * 8 / 2

    simulate(work())


def test_a_slow_replica_costs_less_than_a_tenth_of_what_the_others_bear() -> None:
    async def work() -> None:
        servers = [Server(name) for name in "abc"]
        servers[0].seconds = lambda: 1.0
        made = await many(pool_of(*servers), 1000, live=160)
        assert all(len(places) == 8 for places in made)
        fastest = 1000 * 8 * 0.1 / (2 * 32)
        assert now() < 1.1 * fastest
        assert servers[0].answered > 10, "it is still asked now and then"

    simulate(work())


def test_a_replica_that_comes_back_as_another_model_stays_out() -> None:
    async def work() -> None:
        servers = [Server(name) for name in "ab"]
        pool = pool_of(*servers)

        async def refuse(server: Server) -> None:
            raise EngineMisconfigured("other weights")

        pool.replicas[0].check = refuse
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, servers[0].kill)
        loop.call_later(2.0, servers[0].start_again)
        made = await many(pool, 1000, live=96)
        assert all(len(places) == 8 for places in made)
        assert servers[0].answered <= 320

    simulate(work())


def test_what_a_silent_replica_holds_is_done_by_the_others() -> None:
    async def work() -> None:
        servers = [Server(name) for name in "ab"]
        pool = pool_of(*servers)
        asyncio.get_running_loop().call_later(1.0, setattr, servers[0], "seconds", lambda: 1e9)
        asyncio.get_running_loop().call_later(10.0, servers[0].kill)
        asyncio.get_running_loop().call_later(10.0, pool.replicas[0].gate.lost)
        made = await many(pool, 100, live=64)
        assert all(len(places) == 8 for places in made)

    simulate(work())


@pytest.mark.parametrize("trouble", [Trouble.LIMITED, Trouble.BUSY])
def test_a_replica_that_refuses_everything_is_left_to_itself(trouble: Trouble) -> None:
    async def work() -> None:
        servers = [Server(name) for name in "ab"]
        servers[0].trouble = trouble
        made = await many(pool_of(*servers), 300, live=96)
        assert {place for places in made for place in places} == {"b"}
        assert now() < 1.1 * 300 * 8 * 0.1 / 32
        assert servers[0].asked < 100

    simulate(work())


def test_twenty_requests_a_minute_are_waited_for() -> None:
    """No call is given up, and four fifths of the quota are used."""

    async def work() -> None:
        server = Server()
        server.per_minute = 20
        pool = pool_of(server, concurrency=64)
        made = await many(pool, 200, live=96, calls=1)
        assert len(made) == 200
        assert now() < (200 - 20) / 20 * 60 / 0.8
        assert server.refused < 100

    simulate(work())


def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    """Five a second, by the minute: the pace comes near to it, with few refusals."""

    async def work() -> None:
        server = Server()
        server.per_minute = 300
        server.retry_after = lambda: max(0.0, server.started[0] + 60 - now())
        pool = pool_of(server, concurrency=64)
        await many(pool, 3000, live=96, calls=1)
        assert now() < (3000 - 300) / 5 / 0.8
        assert server.refused < 200

    simulate(work())


def test_roles_that_share_a_server_get_equal_shares_of_it() -> None:
    async def work() -> None:
        server, gate = Server(slots=8), Gate(8)
        roles = [Pool([Replica(server, gate)], RetryPolicy()) for _ in range(2)]
        done = [0, 0]

        async def ask(role: int) -> None:
            while now() < 10:
                await trajectory(roles[role], 1)
                done[role] += 1

        await asyncio.gather(*(ask(role) for role in (0, 1) for _ in range(12 + 36 * role)))
        per_task = (done[0] / 12, done[1] / 48)
        assert 0.8 < per_task[0] / per_task[1] < 1.25
        assert sum(done) > 0.95 * 8 * 10 / 0.1

    simulate(work())


def test_requests_in_flight_follow_what_the_server_bears() -> None:
    """A server that says how many requests wait inside of it gets few more than it has slots."""

    async def work() -> None:
        server = Server(slots=16)
        pool = pool_of(server, concurrency=256)
        [replica] = pool.replicas

        async def read() -> None:
            while True:
                await asyncio.sleep(2)
                running = 16 - server.slots._value
                replica.gate.crowded(running, max(0, replica.gate.in_flight - running))

        reading = asyncio.create_task(read())
        await many(pool, 2000, live=256)
        reading.cancel()
        assert replica.gate.window < 32
        assert now() < 1.1 * 2000 * 8 * 0.1 / 16

    simulate(work())


def test_a_window_grows_to_its_ceiling_where_nothing_stands_against_it() -> None:
    async def work() -> None:
        pool = pool_of(Server(slots=200), concurrency=200)
        await many(pool, 1000, live=300)
        assert pool.replicas[0].gate.window == 200

    simulate(work())


def test_when_a_server_stays_away_all_requests_end_together() -> None:
    async def work() -> None:
        server = Server()
        pool = pool_of(server, policy=RetryPolicy(total_seconds=600))
        await many(pool, 32, live=32)
        gone = now()
        server.kill()
        tasks = [asyncio.create_task(trajectory(pool)) for _ in range(200)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in found} == {EngineUnavailable}
        assert 560 < now() - gone < 640
        assert server.asked < 32 * 8 + 400

    simulate(work())


def test_a_wait_for_a_place_is_no_time_of_the_trajectory() -> None:
    """A limit of one second, a server that takes one request after the other for half of that."""

    async def work() -> None:
        pool = pool_of(Server(slots=1, seconds=0.5), concurrency=1)

        async def bounded() -> None:
            trajectory = LiveTrajectory()
            trajectory.deadline = now() + 1
            async with asyncio.timeout_at(trajectory.deadline) as limit:
                with trajectory.work(), trajectory.bounded_by(limit):
                    await pool.run(Server.ask)

        await asyncio.gather(*(bounded() for _ in range(10)))
        assert now() == pytest.approx(5.0)

    simulate(work())


def test_a_cancelled_wait_gives_its_place_to_the_next() -> None:
    async def work() -> None:
        pool = pool_of(Server(slots=1), concurrency=1)
        tasks = [asyncio.create_task(trajectory(pool, 1)) for _ in range(50)]
        await asyncio.sleep(0.05)
        for task in tasks[1::2]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(one, list) for one in found) == 25
        assert pool.replicas[0].gate.in_flight == 0

    simulate(work())
