"""The shipped pockets err as they must, and the tool repairs it: the figures of docs/pocket.md."""

import pytest

from storage.records import Program
from tests.embedded.pocket.quality import bench, score, score_critic
from tirgen.embedded.pocket.problems import problems
from tirgen.filters.filter_config import TrajectoryMode

pytestmark = pytest.mark.slow


async def test_the_shipped_pocket_is_right_as_often_as_it_should_be() -> None:
    """At the temperature that generation uses by default."""
    found = problems("test", 324)
    async with bench("base", 0.6) as measured:
        plain = score(found, await measured.answers(found, Program.COT)).share()
        critic = (await score_critic(measured, 324)).share()
        refined = score(found, await measured.answers(found, Program.TIRGEN)).share()
    assert 0.05 < plain < 0.35
    assert 0.70 < critic < 0.95
    assert refined >= 0.5


async def test_the_tool_is_worth_its_errors_at_temperature_one_too() -> None:
    found = problems("test", 324)
    async with bench("base", 1.0) as measured:
        plain = score(found, await measured.answers(found, Program.COT)).share()
        refined = score(found, await measured.answers(found, Program.TIRGEN)).share()
    assert 0.05 < plain < 0.35
    assert refined > plain + 0.2


async def test_thinking_is_worth_more_with_the_tool_than_without() -> None:
    found = problems("test", 324)
    async with bench("thinking", 0.6, TrajectoryMode.REASONING) as measured:
        plain = score(found, await measured.answers(found, Program.COT)).share()
        refined = score(found, await measured.answers(found, Program.TIRGEN)).share()
    assert 0.03 < plain < 0.35
    assert refined > plain + 0.2
