"""The shipped pocket errs as it must, and the tool repairs it: the figures of docs/pocket.md."""

import pytest
from quality import bench, score, score_critic

from storage.records import Program
from tirgen.pocket.local import MODEL_DIR
from tirgen.pocket.problems import problems

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("temperature", [1.0, 0.6])
async def test_the_shipped_pocket_is_right_as_often_as_it_should(temperature: float) -> None:
    found = problems("test", 324)
    async with bench(MODEL_DIR, temperature) as measured:
        plain = score(found, await measured.answers(found, Program.COT)).share()
        critic = (await score_critic(measured, 324)).share()
        refined = score(found, await measured.answers(found, Program.TIRGEN)).share()
    assert 0.05 < plain < 0.35
    assert 0.70 < critic < 0.95
    assert refined > plain + 0.2
    if temperature < 1:
        assert refined >= 0.5
