"""The real files load whole."""

from pathlib import Path

import pytest

from tirgen.problems.errors import ProblemsError
from tirgen.problems.load import load_problems

SETS = [
    ("aime24", 30, "plain", "204"),
    ("amc23", 40, "plain", "27"),
    ("gsm8k_test", 1319, "gsm8k", "18"),
    ("gsm_hard_test", 1319, "gsm_hard", "-9867630"),
    ("math_test", 5000, "math", "2"),
    ("minerva_math", 272, "math", "1.6"),
    ("olympiadbench", 675, "olympiadbench", "2"),
]


@pytest.mark.parametrize(("name", "count", "layout", "first"), SETS, ids=[s[0] for s in SETS])
def test_every_row_becomes_a_problem(
    name: str, count: int, layout: str, first: str, published: Path
) -> None:
    found = load_problems(str(published / f"{name}.jsonl"))
    assert (len(found.problems), found.layout) == (count, layout)
    assert (found.skipped, found.repeated) == ((), 0)
    assert found.problems[0].answer == first
    assert len({problem.problem_id for problem in found.problems}) == count


def test_humaneval_is_no_answer_problem(published: Path) -> None:
    with pytest.raises(ProblemsError, match="code generation"):
        load_problems(str(published / "humaneval.jsonl"))
