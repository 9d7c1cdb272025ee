"""Files of code benchmarks in every published layout."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tirgen.data.code_tasks import CodeLayout, CodeTask, Window, load_code_tasks
from tirgen.data.errors import ProblemsError

HUMANEVAL = {
    "task_id": "T/0",
    "prompt": "def double(x):\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    "entry_point": "double",
}
MBPP = {
    "task_id": 2,
    "prompt": "Write a function to double a number.",
    "code": "def helper(x):\n    return x\n\ndef double(x):\n    return helper(x) * 2\n",
    "test_imports": ["import math"],
    "test_list": ["assert set([double(2)]) == {4}", "assert double(0) == 0"],
}
LIVECODEBENCH = {
    "question_title": "Double",
    "question_content": "Print twice the number.",
    "platform": "atcoder",
    "question_id": "abc300_a",
    "contest_id": "abc300",
    "contest_date": "2024-08-17T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "2\n", "output": "4\n", "testtype": "stdin"}]),
    "private_test_cases": "[]",
    "metadata": "{}",
}


def packed(document: object) -> str:
    """Hidden tests as LiveCodeBench ships them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(document)))).decode()


def loaded(tmp_path: Path, *rows: dict[str, Any], window: Window | None = None) -> list[CodeTask]:
    path = tmp_path / "bench.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [*load_code_tasks(str(path), window=window or Window())]


def test_humaneval_continues_its_prompt(tmp_path: Path) -> None:
    [task] = loaded(tmp_path, HUMANEVAL)
    assert (task.layout, task.entry_point) == (CodeLayout.HUMANEVAL, "double")
    assert task.problem.problem_id == "bench-T/0"
    assert task.prelude == task.problem.question == HUMANEVAL["prompt"]
    assert task.tests.endswith("check(double)\n")


def test_mbpp_finds_the_function_that_its_assertions_call(tmp_path: Path) -> None:
    [task] = loaded(tmp_path, MBPP)
    assert (task.layout, task.entry_point) == (CodeLayout.MBPP, "double")
    assert task.prelude == "import math\n"
    assert "assert set([double(2)])" in task.problem.question
    assert "double(0)" not in task.problem.question
    [plus] = loaded(tmp_path, MBPP | {"test": "assert double(7) == 14"})
    assert plus.tests == "assert double(7) == 14"


def test_livecodebench_is_a_program_or_a_method(tmp_path: Path) -> None:
    hidden = [{"input": "3\n", "output": "6\n", "testtype": "stdin"}]
    [program] = loaded(tmp_path, LIVECODEBENCH | {"private_test_cases": packed(hidden)})
    assert (program.layout, program.entry_point) == (CodeLayout.LIVECODEBENCH, "")
    assert json.loads(program.tests) == [["2\n", "4\n"], ["3\n", "6\n"]]
    assert program.problem.difficulty == "easy"
    case = {"input": "2", "output": "4", "testtype": "functional"}
    starter = "class Solution:\n    def double(self, x: int) -> int:\n        "
    [method] = loaded(
        tmp_path,
        LIVECODEBENCH
        | {
            "starter_code": starter,
            "public_test_cases": json.dumps([case]),
            "metadata": json.dumps({"func_name": "double"}),
        },
    )
    assert method.entry_point == "double"
    assert starter.rstrip() in method.problem.question


def test_only_contests_of_the_window_count(tmp_path: Path) -> None:
    rows = [
        LIVECODEBENCH | {"question_id": day, "contest_date": f"{day}T00:00:00"}
        for day in ("2024-07-31", "2024-08-01", "2025-05-01", "2025-05-02")
    ]
    window = Window(date(2024, 8, 1), date(2025, 5, 1))
    found = [task.problem.problem_id for task in loaded(tmp_path, *rows, window=window)]
    assert found == ["bench-2024-08-01", "bench-2025-05-01"]
    with pytest.raises(ProblemsError, match="no task of these days"):
        loaded(tmp_path, rows[0], window=window)
    with pytest.raises(ProblemsError, match="no contest_date; leave since and until out"):
        loaded(tmp_path, HUMANEVAL, window=window)


class Trap:
    """Ends the test run if anything unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "1+1", "answer": "2"}, "no code task; known layouts have the fields"),
        (HUMANEVAL | {"plus_input": [[1]]}, "-OriginFmt"),
        (HUMANEVAL | {"test": 7}, "test is no text"),
        (MBPP | {"test_list": ["assert triple(2) == 6"]}, "calls no function of code"),
        (MBPP | {"code": "def double(x"}, "no Python"),
        (MBPP | {"test_list": "assert"}, "no list of texts"),
        (LIVECODEBENCH | {"public_test_cases": "[]"}, "no tests"),
        (LIVECODEBENCH | {"public_test_cases": '[{"input": 1}]'}, "without the texts"),
        (LIVECODEBENCH | {"metadata": '{"func_name": "f"}'}, "does not fit"),
        (LIVECODEBENCH | {"private_test_cases": "AAAA"}, "cannot be unpacked"),
        (
            LIVECODEBENCH
            | {
                "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(Trap()))).decode()
            },
            "not one text",
        ),
    ],
)
def test_a_row_that_is_no_task_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemsError, match=f"line 2: .*{message}"):
        loaded(tmp_path, HUMANEVAL, row)


def test_tests_that_unpack_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tirgen.data.code_tasks.MOST_TEST_BYTES", 1000)
    hidden = [{"input": "0" * 5000, "output": "", "testtype": "stdin"}]
    with pytest.raises(ProblemsError, match="line 1"):
        loaded(tmp_path, LIVECODEBENCH | {"private_test_cases": packed(hidden)})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="does not exist"):
        load_code_tasks(str(tmp_path / "none.jsonl"))
