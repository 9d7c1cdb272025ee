"""The real files load whole."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tirgen.data.errors import ProblemsError
from tirgen.data.load import load_problems
from tirgen.verification import Verifier

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


@pytest.mark.parametrize("name", [s[0] for s in SETS])
async def test_every_gold_answer_verifies_against_itself(name: str, published: Path) -> None:
    problems = load_problems(str(published / f"{name}.jsonl")).problems
    async with Verifier() as verifier:
        responses = [(p.answer, f"So it is $\\boxed{{{p.answer}}}$.") for p in problems]
        verdicts = [await verifier.verify(*pair) for pair in responses]
    assert [v for v in verdicts if not v.correct] == []


@pytest.mark.parametrize("name", ["math_test", "minerva_math"])
async def test_every_gold_answer_verifies_against_its_whole_solution(
    name: str, published: Path
) -> None:
    path = published / f"{name}.jsonl"
    solutions = [json.loads(line)["solution"] for line in path.read_text().splitlines()]
    async with Verifier() as verifier:
        for problem, solution in zip(load_problems(str(path)).problems, solutions, strict=True):
            assert (await verifier.verify(problem.answer, solution)).correct, problem


async def test_a_gold_answer_does_not_verify_against_another(published: Path) -> None:
    answers = [p.answer for p in load_problems(str(published / "gsm8k_test.jsonl")).problems[:200]]
    pairs = [(a, b) for a, b in pairwise(answers) if float(a) != float(b)]
    async with Verifier() as verifier:
        verdicts = [await verifier.verify(a, f"\\boxed{{{b}}}") for a, b in pairs]
    assert len(verdicts) > 150
    assert not any(verdict.correct for verdict in verdicts)
