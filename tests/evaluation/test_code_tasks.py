"""Code benchmarks against the real sandbox."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tirgen.data.code_tasks import CodeTask, load_code_tasks
from tirgen.jobs.code_maker import run_tests, solution
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.local import LocalSandbox

SHARED = Path(os.environ.get("TIRGEN_SHARED", Path(__file__).parents[2] / "../shared"))
LIMITS = Limits(cpu_seconds=5, wall_seconds=10, memory_mb=512)
HUMANEVAL = SHARED / "data/problems/humaneval.jsonl"
PROMPT = 'import math\n\n\ndef double(x):\n    """Twice x."""\n'
TASK = {
    "task_id": "T/0",
    "prompt": PROMPT,
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n",
    "entry_point": "double",
}


@pytest.fixture
def task(tmp_path: Path) -> CodeTask:
    path = tmp_path / "tiny.jsonl"
    path.write_text(json.dumps(TASK) + "\n")
    return load_code_tasks(str(path))[0]


def judged(task: CodeTask, *replies: str) -> list[bool]:
    async def run() -> list[bool]:
        async with LocalSandbox() as sandbox:
            tested = [await run_tests(task, reply, sandbox, LIMITS) for reply in replies]
        return [each.verdict is not None and each.verdict.correct for each in tested]

    return asyncio.run(run())


def test_a_completion_is_right_if_its_tests_run_to_their_end(task: CodeTask) -> None:
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


def test_a_completion_that_fails_forges_or_ends_early_is_wrong(task: CodeTask) -> None:
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


def test_the_last_block_that_defines_the_function_counts(task: CodeTask) -> None:
    reply = (
        "```python\ndef double(x):\n    return 0\n```\nBetter:\n"
        "```python\ndef double(x):\n    return x + x\n```\nTry it:\n```python\ndouble(3)\n```\n"
    )
    assert solution(task, reply).endswith("return x + x\n")


def livecodebench(
    tmp_path: Path, cases: list[tuple[str, str]], method: str = "", starter: str = ""
) -> CodeTask:
    row = {
        "question_id": "q", "question_content": "Solve it.", "starter_code": starter,
        "public_test_cases": [
            {"input": given, "output": wanted, "testtype": "functional" if method else "stdin"}
            for given, wanted in cases
        ],
        "metadata": {"func_name": method} if method else {},
    }  # fmt: skip
    path = tmp_path / "lcb.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return load_code_tasks(str(path))[0]


SUMS = [("2\n1 2\n3 4\n", "3\n7\n"), ("1\n0.5 0.25\n", "0.75"), ("0\n", "")]
READERS = {
    "input": "for _ in range(int(input())):\n    print(sum(map(float, input().split())))\n",
    "lines of stdin": "import sys\nfor l in sys.stdin.readlines()[1:]:\n"
    "    print(sum(map(float, l.split())))\n",
    "bytes of stdin": "import sys, os\nn, *rows = sys.stdin.buffer.read().decode().split('\\n')\n"
    "out = [str(sum(map(float, r.split()))) for r in rows if r]\n"
    "os.write(1, ('\\n'.join(out) + '\\n').encode())\n",
    "descriptor 0": "n, *rows = open(0).read().split('\\n')\n"
    "print(*[sum(map(float, r.split())) for r in rows if r], sep='\\n')\n",
    "a main that ends the program": "import sys\ndef main():\n    n = int(input())\n"
    "    for _ in range(n): print(sum(map(float, input().split())))\n    sys.exit()\n"
    "if __name__ == '__main__':\n    main()\n",
    "a thread": "import threading\ndef main():\n    for _ in range(int(input())):\n"
    "        print(sum(map(float, input().split())))\nthreading.Thread(target=main).start()\n",
    "deep recursion": "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\n"
    "assert f(20000) == 20000\nfor _ in range(int(input())):\n"
    "    print(sum(map(float, input().split())))\n",
    "names that the judge imports": "for _ in range(int(input())):\n"
    "    print(reduce(add, [Fraction(x) for x in input().split()]) + floor(0.5))\n"
    "".replace("Fraction(x)", "float(x)"),
}


def blocks(*programs: str) -> list[str]:
    return [f"So:\n```python\n{program}```\n" for program in programs]


def test_a_program_reads_stdin_as_programs_do(tmp_path: Path) -> None:
    task = livecodebench(tmp_path, SUMS)
    found = dict(zip(READERS, judged(task, *blocks(*READERS.values())), strict=True))
    assert [name for name, right in found.items() if not right] == []


def test_a_program_that_is_wrong_once_is_wrong(tmp_path: Path) -> None:
    wrong = [
        "print(3)\nprint(7)\n",
        READERS["input"] + "print()\nprint(1)\n",
        "import sys\nsys.stderr.write('3 7')\n",
        "import os\nos._exit(0)\n",
        "while True: pass\n",
        "raise SystemExit\n",
        "import signal\nsignal.setitimer(signal.ITIMER_PROF, 0)\nprint('3\\n7')\n",
        "print('9' * 40_000_000)\n",
        "def f(:\n",
    ]
    task = livecodebench(tmp_path, SUMS)
    assert judged(task, *blocks(*wrong)) == [False] * len(wrong)


def test_state_of_one_test_is_not_seen_by_the_next(tmp_path: Path) -> None:
    program = "try:\n    seen\nexcept NameError:\n    seen = 1\n    print(input())\n"
    task = livecodebench(tmp_path, [("1", "1"), ("2", "2")])
    assert judged(task, *blocks(program)) == [True]


def test_a_method_is_called_with_values(tmp_path: Path) -> None:
    starter = "class Solution:\n    def pair(self, nums: List[int], k: int) -> List[int]:\n        "
    task = livecodebench(
        tmp_path, [("[1, 2, 3]\n2", "[2, 4]"), ("[]\n0", "[0, 0]")], "pair", starter
    )
    right = starter + "return [k, len(nums) + (1 if k else 0)]\n"
    right_as_tuple = starter + "return (k, len(nums) + bool(k))\n"
    as_function = "def pair(nums, k):\n    return [k, len(nums) + bool(k)]\n"
    wrong = starter + "return [2, 4]\n"
    forged = "class Any(list):\n    def __eq__(self, o): return True\n" + starter + "return Any()\n"
    replies = blocks(right, right_as_tuple, as_function, wrong, forged)
    assert judged(task, *replies) == [True, True, True, False, False]


@pytest.mark.skipif(not HUMANEVAL.exists(), reason="needs the shared humaneval.jsonl")
def test_every_published_solution_passes_and_none_that_returns_nothing() -> None:
    rows = [json.loads(line) for line in HUMANEVAL.read_text().splitlines()]
    tasks = load_code_tasks(str(HUMANEVAL))
    assert len(tasks) == len(rows) == 164

    async def run() -> tuple[list[str], list[str]]:
        async with LocalSandbox() as sandbox:

            async def passes(task: CodeTask, reply: str) -> bool:
                tested = await run_tests(task, reply, sandbox, LIMITS)
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
