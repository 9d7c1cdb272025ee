"""Code benchmarks against the real sandbox."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from storage.records import Problem
from tirgen.data.errors import ProblemsError
from tirgen.jobs.code_tasks import load_code_tasks, run_tests, solution
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.local import LocalSandbox

SHARED = Path(os.environ.get("TIRGEN_SHARED", Path(__file__).parents[2] / "../shared"))
HUMANEVAL = SHARED / "data/problems/humaneval.jsonl"
PROMPT = 'import math\n\n\ndef double(x):\n    """Twice x."""\n'
TASK = {
    "task_id": "T/0",
    "prompt": PROMPT,
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n",
    "entry_point": "double",
}


@pytest.fixture
def task(tmp_path: Path) -> Problem:
    path = tmp_path / "tiny.jsonl"
    path.write_text(json.dumps(TASK) + "\n")
    return load_code_tasks(str(path))[0]


def judged(problem: Problem, *replies: str) -> list[bool]:
    async def run() -> list[bool]:
        async with LocalSandbox() as sandbox:
            tested = [await run_tests(problem, reply, sandbox, Limits()) for reply in replies]
        return [each.verdict is not None and each.verdict.correct for each in tested]

    return asyncio.run(run())


def test_a_completion_is_right_if_its_tests_run_to_their_end(task: Problem) -> None:
    assert (
        judged(
            task,
            "Here:\n```python\ndef double(x):\n    return 2 * x\n```\n",
            "    return 2 * x\n",
            "```python\n    return 2 * x\n```\n",
            "```python\ndef double(x):\n    return int(math.fsum([x, x]))\n```\n",
        )
        == [True] * 4
    )


def test_a_completion_that_fails_forges_or_ends_early_is_wrong(task: Problem) -> None:
    assert (
        judged(
            task,
            "```python\ndef double(x):\n    return 3 * x\n```\n",
            "",
            "```python\ndef double(x):\n    print('passed')\n    raise SystemExit(0)\n```\n",
            "```python\nprint('passed 1')\nraise SystemExit\ndef double(x):\n    return 3\n```\n",
            "```python\ndef double(x:\n```\n",
        )
        == [False] * 5
    )


def test_the_last_block_that_defines_the_function_counts() -> None:
    reply = (
        "```python\ndef double(x):\n    return 0\n```\nBetter:\n"
        "```python\ndef double(x):\n    return x + x\n```\nTry it:\n```python\ndouble(3)\n```\n"
    )
    assert solution(PROMPT, reply, "double").endswith("return x + x\n")


def test_a_file_that_holds_no_code_tasks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "1+1", "answer": "2"}\n')
    with pytest.raises(ProblemsError, match="task_id, prompt, test, entry_point"):
        load_code_tasks(str(path))
    with pytest.raises(ProblemsError, match="does not exist"):
        load_code_tasks(str(tmp_path / "none.jsonl"))


@pytest.mark.skipif(not HUMANEVAL.exists(), reason="needs the shared humaneval.jsonl")
def test_every_published_solution_passes_and_none_that_returns_nothing() -> None:
    rows = [json.loads(line) for line in HUMANEVAL.read_text().splitlines()]
    tasks = load_code_tasks(str(HUMANEVAL))
    assert len(tasks) == len(rows) == 164

    async def run() -> tuple[list[str], list[str]]:
        async with LocalSandbox() as sandbox:

            async def passes(problem: Problem, reply: str) -> bool:
                tested = await run_tests(problem, reply, sandbox, Limits())
                return tested.verdict is not None and tested.verdict.correct

            right = await asyncio.gather(
                *(passes(t, r["canonical_solution"]) for t, r in zip(tasks, rows, strict=True))
            )
            wrong = await asyncio.gather(*(passes(task, "    return None\n") for task in tasks))
        names = [row["task_id"] for row in rows]
        return (
            [name for name, ok in zip(names, right, strict=True) if not ok],
            [name for name, ok in zip(names, wrong, strict=True) if ok],
        )

    assert asyncio.run(run()) == ([], [])
