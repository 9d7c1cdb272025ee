import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from tests.engine.simulated import now, simulate
from tirgen.engine.errors import EngineUnavailable
from tirgen.engine.gate import Pauses
from tirgen.engine.pool import Pool
from tirgen.engine.retry import RetryPolicy, Transient, Trouble, failure

PAUSES = Pauses(first=1.0, longest=8.0)


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_waits_double_to_a_limit_and_differ() -> None:
    for tries, longest in [(1, 1.0), (2, 2.0), (4, 8.0), (9, 8.0), (5000, 8.0)]:
        drawn = [PAUSES.after(tries) for _ in range(50)]
        assert longest / 2 <= min(drawn) < max(drawn) <= longest


@pytest.mark.parametrize("zone", ["GMT", "-0000", ""])
@pytest.mark.usefixtures("tokyo")
def test_retry_after_may_be_a_date_which_is_in_utc(zone: str) -> None:
    date = formatdate(time.time() + 20).replace("-0000", zone)
    transient = failure(503, "", date)
    assert isinstance(transient, Transient)
    assert transient.retry_after == pytest.approx(20, abs=2)


@pytest.mark.parametrize("header", ["soon", "", "-3", "nan", f"Mon, 01 Jan {10**11} 00:00:00 GMT"])
def test_a_senseless_retry_after_is_no_wait(header: str) -> None:
    transient = failure(429, "", header)
    assert isinstance(transient, Transient)
    assert not transient.retry_after


def test_time_runs_out_before_tries_do() -> None:
    tries = 0

    async def attempt(client: None) -> None:
        nonlocal tries
        tries += 1
        raise Transient("broken.")

    async def work() -> None:
        pool = Pool.of(None, RetryPolicy(max_tries=1000, total_seconds=100))
        with pytest.raises(EngineUnavailable, match="broken"):
            await pool.run(attempt)
        assert 70 < now() <= 100

    simulate(work())
    assert tries < 20


def test_silence_of_an_engine_is_said_at_growing_intervals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def attempt(client: None) -> str:
        await asyncio.sleep(1)
        if now() < 300:
            raise Transient("refused.", trouble=Trouble.UNREACHABLE)
        return "here"

    async def work() -> None:
        pool = Pool.of(None, RetryPolicy(total_seconds=10_000, pauses=Pauses(longest=9)))
        assert (await pool.run(attempt)).result == "here"

    simulate(work())
    said = [record.getMessage() for record in caplog.records]
    seconds = [int(words.split()[5]) for words in said[:-1]]
    assert len(seconds) == 3
    assert all(seconds[n] >= 30 * 2**n for n in range(3))
    assert said[-1] == "the engine answers again"
    assert "refused. Each request waits for at most 10000 s." in said[0]


async def test_one_failure_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    tries = iter([Transient("busy."), None])

    async def attempt(client: None) -> None:
        if failed := next(tries):
            raise failed

    await Pool.of(None, RetryPolicy(pauses=Pauses(first=0.0))).run(attempt)
    assert not caplog.records


async def test_a_timeout_of_somebody_elses_is_not_ours() -> None:
    async def attempt(client: None) -> None:
        raise TimeoutError("not the pool's")

    with pytest.raises(TimeoutError, match="not the pool's"):
        await Pool.of(None, RetryPolicy()).run(attempt)


def test_the_wait_for_a_place_is_not_counted_as_the_engines() -> None:
    async def attempt(client: None) -> None:
        await asyncio.sleep(10)

    async def work() -> None:
        pool = Pool.of(None, RetryPolicy())
        answers = await asyncio.gather(*(pool.run(attempt) for _ in range(3)))
        assert [answer.seconds for answer in answers] == [10, 10, 10]

    simulate(work())
