from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.records import Level, Opinion
from tests.evaluation.answers import BAD, OK, sample
from tirgen.evaluation.tool_statistic import ToolTable, tool_table


def test_table_4_of_the_paper() -> None:
    """Method C10: 336.294 without Yates's correction, p = 4.09e-75."""
    table = ToolTable(right_ran=3950, right_failed=139, wrong_ran=1549, wrong_failed=318)
    assert table.chi_square == pytest.approx(336.294, abs=5e-4)
    assert table.p_value == pytest.approx(4.09e-75, rel=2e-3)
    assert table.accuracy_all_ran == pytest.approx(0.718, abs=5e-4)
    assert table.accuracy_some_failed == pytest.approx(0.304, abs=5e-4)


def test_a_table_with_an_empty_side_has_no_statistic() -> None:
    table = ToolTable(right_ran=3, right_failed=0, wrong_ran=4, wrong_failed=0)
    assert table.chi_square is None
    assert table.p_value is None
    assert table.accuracy_some_failed is None
    assert table.accuracy_all_ran == pytest.approx(3 / 7)


def test_the_table_is_counted_from_stored_rows(tmp_path: Path) -> None:
    wrong = sample(attempt=6, right=False)
    rows = [
        *(sample(attempt=n) for n in range(3)),
        sample(attempt=3, outcomes=(OK, BAD)),
        sample(attempt=4, right=False),
        sample(attempt=5, right=False, outcomes=(BAD, OK)),
        replace(wrong, opinion=Opinion(judge_correct=True, judge_model="m", judge_reason="yes")),
        sample(attempt=7, outcomes=()),
        replace(sample(attempt=8), level=Level.STEP, trajectory_id="step"),
        replace(sample(attempt=9), verdict=None),
    ]
    store = Store(tmp_path)
    run = store.open_run("d", {}, "c0ffee")
    run.publish([sample(attempt=0, right=False)], {})
    version = run.publish(rows, {})
    assert tool_table(store, version) == ToolTable(
        right_ran=4, right_failed=1, wrong_ran=1, wrong_failed=1
    )
