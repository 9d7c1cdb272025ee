"""The short form of the kill report: whole jobs, killed at random instants."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")


@pytest.mark.slow
def test_jobs_that_are_killed_lose_double_and_show_in_part_nothing() -> None:
    from benchmarks.kills import run

    found = run(quick=True)
    assert found.reached, (found.ours, found.peers)
