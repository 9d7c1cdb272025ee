import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from tirgen.engine.errors import EngineUnavailable
from tirgen.engine.retry import Limiter, RetryPolicy, Transient, Trouble, failure

POLICY = RetryPolicy(first_delay=1.0, longest_delay=8.0)


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_waits_double_to_a_limit_and_differ() -> None:
    for tries, longest in [(1, 1.0), (2, 2.0), (4, 8.0), (9, 8.0), (5000, 8.0)]:
        drawn = [POLICY.delay(tries, None) for _ in range(50)]
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
    assert POLICY.delay(1, transient.retry_after) <= 1.0


async def test_time_runs_out_before_tries_do() -> None:
    limiter = Limiter(1, RetryPolicy(max_tries=1000, total_seconds=0.2, first_delay=0.05))

    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        raise Transient("busy.")

    with pytest.raises(EngineUnavailable, match="busy"):
        await limiter.run(attempt)
    assert tries < 1000


async def test_silence_of_an_engine_is_said_at_growing_intervals(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a clock that each try moves on by ten seconds."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    limiter = Limiter(1, RetryPolicy(total_seconds=10_000, first_delay=0.0))
    tries = 0

    async def attempt() -> str:
        nonlocal tries
        tries += 1
        clock[0] += 10
        if tries < 30:
            raise Transient("refused.", trouble=Trouble.UNREACHABLE)
        return "here"

    assert (await limiter.run(attempt))[0] == "here"
    said = [record.getMessage() for record in caplog.records]
    assert [words.split(":")[0] for words in said] == [
        "no request was answered for 30 s", "no request was answered for 60 s",
        "no request was answered for 120 s", "no request was answered for 240 s",
        "the engine answers again",
    ]  # fmt: skip
    assert "refused. Each request waits for at most 10000 s." in said[0]


async def test_one_failure_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    tries = iter([Transient("busy."), None])

    async def attempt() -> None:
        if failed := next(tries):
            raise failed

    await Limiter(1, RetryPolicy(first_delay=0.0)).run(attempt)
    assert not caplog.records


async def test_a_timeout_of_somebody_elses_is_not_ours() -> None:
    async def attempt() -> None:
        raise TimeoutError("not the limiter's")

    with pytest.raises(TimeoutError, match="not the limiter's"):
        await Limiter(1, RetryPolicy()).run(attempt)


async def test_the_wait_for_a_slot_is_not_counted_as_the_engines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a clock that each request moves on by ten seconds."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    limiter = Limiter(1, RetryPolicy())

    async def attempt() -> None:
        await asyncio.sleep(0)
        clock[0] += 10

    results = await asyncio.gather(*(limiter.run(attempt) for _ in range(3)))
    assert [seconds for _, seconds in results] == [10, 10, 10]
