"""Every published layout is told by its fields; question and gold answer come out bare."""

from pathlib import Path
from typing import Any

import pytest

from storage.records import Problem
from tests.data.writing import write_jsonl, write_parquet
from tirgen.data.errors import ProblemsError
from tirgen.data.load import load_problems


def only(path: str, **options: Any) -> tuple[Problem, str]:
    found = load_problems(path, **options)
    [problem] = found.problems
    return problem, found.layout


def one(tmp_path: Path, row: dict[str, Any], **options: Any) -> tuple[Problem, str]:
    return only(write_jsonl(tmp_path / "set.jsonl", [row]), **options)


def test_gsm8k(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "It is <<2*600=1200>>1,200\n#### 1,200"}
    problem, layout = one(tmp_path, row)
    assert (problem.question, problem.answer, layout) == ("How many?", "1200", "gsm8k")


def test_gsm_hard(tmp_path: Path) -> None:
    problem, layout = one(tmp_path, {"input": "q", "code": "", "target": -9867630.0, "idx": 4})
    assert (problem.answer, problem.problem_id, layout) == ("-9867630", "set-4", "gsm_hard")


def test_math(tmp_path: Path) -> None:
    row = {
        "problem": "p",
        "level": "Level 3",
        "type": "Algebra",
        "solution": r"First \boxed{1}, so $x=\boxed{\dfrac{9}{7}}$.",
    }
    problem, layout = one(tmp_path, row)
    assert (problem.answer, problem.difficulty, layout) == (r"\dfrac{9}{7}", "Level 3", "math")


def test_math_500_prefers_its_answer_column(tmp_path: Path) -> None:
    row = {"problem": "p", "solution": r"\boxed{2}", "answer": "2", "unique_id": "test/a/1.json"}
    problem, _ = one(tmp_path, row)
    assert (problem.answer, problem.problem_id) == ("2", "set-test/a/1.json")


def test_aime_and_amc_repeat_the_question(tmp_path: Path) -> None:
    row = {"id": 7, "problem": "p", "answer": 27.0, "url": "u", "question": "p"}
    problem, layout = one(tmp_path, row)
    assert (problem.question, problem.answer, layout) == ("p", "27", "plain")


def test_olympiadbench(tmp_path: Path) -> None:
    row = {
        "id": 1606,
        "context": "Let $a=1$.",
        "question": "Find it.",
        "final_answer": ["2", "3"],
        "answer_type": "Numerical",
        "unit": "km",
    }
    problem, layout = one(tmp_path, row)
    assert problem.question == "Let $a=1$.\n\nFind it."
    assert (problem.answer, layout) == ("2, 3", "olympiadbench")


def test_deepscaler(tmp_path: Path) -> None:
    row = {"problem": "p", "answer": r"\frac{1}{2}", "solution": "long", "source": "AIME"}
    assert one(tmp_path, row)[0].answer == r"\frac{1}{2}"


def test_deepmath(tmp_path: Path) -> None:
    row = {
        "question": "Evaluate.",
        "final_answer": "0",
        "difficulty": 4.5,
        "topic": "Calculus",
        "r1_solution_1": "...",
    }
    problem, layout = one(tmp_path, row)
    assert (problem.answer, problem.difficulty, layout) == ("0", "4.5", "deepmath")


def dapo_row(question: str, answer: object, index: object = "9a9b6eb4") -> dict[str, Any]:
    content = (
        "Solve the following math problem step by step. The last line of your response should be "
        "of the form Answer: $Answer (without quotes) where $Answer is the answer to the "
        f"problem.\n\n{question}\n\n"
        'Remember to put your answer on its own line after "Answer:".'
    )
    return {
        "data_source": "math_dapo",
        "prompt": [{"content": content, "role": "user"}],
        "ability": "MATH",
        "reward_model": {"ground_truth": answer, "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": index},
    }


def test_dapo_loses_its_instruction(tmp_path: Path) -> None:
    row = dapo_row("In $ABC$,\nfind $x$.", "34")
    problem, layout = only(write_parquet(tmp_path / "dapo-math-17k.parquet", [row]))
    assert problem.question == "In $ABC$,\nfind $x$."
    assert (problem.answer, problem.source, layout) == ("34", "math_dapo", "verl")
    assert problem.problem_id == "math_dapo-9a9b6eb4"


def test_dapo_rows_repeated_a_hundredfold_are_one_problem(tmp_path: Path) -> None:
    rows = [dapo_row("q", "1", index) for index in "abc"] + [dapo_row("r", "2", "d")]
    found = load_problems(write_parquet(tmp_path / "d.parquet", rows))
    assert [problem.question for problem in found.problems] == ["q", "r"]
    assert found.repeated == 2


def test_torl_reads_what_the_user_says(tmp_path: Path) -> None:
    row = {
        "data_source": "torl",
        "prompt": [
            {"role": "system", "content": "Please integrate natural language reasoning."},
            {"role": "user", "content": "What is $1+1$?"},
        ],
        "ability": "math",
        "reward_model": {"ground_truth": ["2"], "style": "rule"},
        "extra_info": {"index": 0, "split": "train"},
    }
    problem, _ = only(write_parquet(tmp_path / "train.parquet", [row]))
    assert (problem.question, problem.answer) == ("What is $1+1$?", "2")


@pytest.mark.parametrize(
    "instruction",
    [
        "Let's think step by step and output the final answer within \\boxed{}.",
        'Let\'s think step by step and output the final answer after "####"',
        "Please reason step by step, and put your final answer within \\boxed{}.",
    ],
)
def test_other_trainers_instructions_are_taken_off(tmp_path: Path, instruction: str) -> None:
    row = dapo_row("", "2") | {"prompt": [{"role": "user", "content": f"Why?\n{instruction}"}]}
    assert one(tmp_path, row)[0].question == "Why?"


def test_humaneval_is_refused_in_a_clear_sentence(tmp_path: Path) -> None:
    row = {"task_id": "HumanEval/0", "prompt": "def f():", "canonical_solution": "", "test": ""}
    with pytest.raises(ProblemsError, match=r"code generation.*no answer to verify"):
        one(tmp_path, row)


def test_columns_can_be_named(tmp_path: Path) -> None:
    row = {"frage": "q", "meta": {"loesung": "so it is 5\n#### 5"}}
    problem, layout = one(tmp_path, row, question_field="frage", answer_field="meta.loesung")
    assert (problem.question, problem.answer, layout) == ("q", "5", "named")


def test_one_named_column_is_enough_where_the_other_is_known(tmp_path: Path) -> None:
    problem, _ = one(tmp_path, {"question": "q", "loesung": r"\boxed{6}"}, answer_field="loesung")
    assert problem.answer == "6"


def test_two_candidate_columns_that_differ_are_asked_about(tmp_path: Path) -> None:
    row = {"problem": "p", "question": "q", "answer": "1"}
    with pytest.raises(ProblemsError, match=r"set\.jsonl.*problem, question.*--question-field"):
        one(tmp_path, row)


def test_unknown_columns_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match=r"frage, loesung.*--question-field"):
        one(tmp_path, {"frage": "q", "loesung": "1"})


def test_a_named_column_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="no field 'antwort'; it has answer, question"):
        one(tmp_path, {"question": "q", "answer": "1"}, answer_field="antwort")


@pytest.mark.parametrize(
    ("published", "gold"),
    [
        (27.0, "27"),
        (3.5, "3.5"),
        (-0.25, "-0.25"),
        (1e20, "100000000000000000000"),
        (1200, "1200"),
        (0, "0"),
        (" 7 ", "7"),
        ("27.0", "27.0"),
        (["1", 2], "1, 2"),
    ],
)
def test_numbers_become_the_text_one_would_write(
    tmp_path: Path, published: object, gold: str
) -> None:
    assert one(tmp_path, {"question": "q", "answer": published})[0].answer == gold
