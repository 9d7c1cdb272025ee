"""Code benchmarks in HumanEval's format: the policy completes a function, its tests are run.

A task is a problem whose question is the beginning of a program and whose gold answer is the
program that tests it. Prompt and completion run in one jail and answer calls. The tests run in
another jail, where no object of the solution ever exists (`tirgen.jobs.code_peer`). The completion
is right if the tests' process exits normally, as the kernel reports. HumanEval+ and MBPP+ have the
same fields.

Not covered: LiveCodeBench, whose programs read stdin; tests of what a function does to its
arguments; tests of a second function that only the solution defines.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from storage.records import Ending, Outcome, Problem, Verdict
from tirgen.data.errors import ProblemsError
from tirgen.data.files import Row, read_rows
from tirgen.engine.protocol import Message
from tirgen.jobs.maker import Item, Judgement
from tirgen.jobs.rollout_maker import RolloutMaker
from tirgen.sandbox.contract import Limits, Sandbox
from tirgen.sandbox.result import FINISHED
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.driver import Meter
from tirgen.tir.markup import parse_trajectory
from tirgen.tir.prompts import prompt_hash
from tirgen.verification import extract_answer
from tirgen.verification.verdicts import TESTS

INSTRUCTION = (
    "Complete the following Python function. Reply with the whole function in one fenced Python "
    "block and nothing else.\n\n```python\n{question}\n```"
)
_PEER = Path(__file__).with_name("code_peer.py").read_text(encoding="utf-8")
_FIELDS = ("task_id", "prompt", "test", "entry_point")


def load_code_tasks(path: str, limit: int | None = None) -> tuple[Problem, ...]:
    """The tasks of a JSONL, JSON or Parquet file in HumanEval's fields.

    Raises `ProblemsError` for a file that is missing, empty, or has a row without one of them.
    """
    where = Path(path).expanduser()
    if not where.is_file():
        raise ProblemsError(f"{where} does not exist; give a file in HumanEval's format")
    tasks: list[Problem] = []
    for row in read_rows(where):
        if not isinstance(row, Row) or not all(isinstance(row.fields.get(f), str) for f in _FIELDS):
            raise ProblemsError(
                f"{where}: {row if not isinstance(row, Row) else f'line {row.line}'} is no code "
                f"task; each row needs the texts {', '.join(_FIELDS)}"
            )
        tasks.append(_task(where.stem, {name: str(row.fields[name]) for name in _FIELDS}))
        if len(tasks) == limit:
            break
    if not tasks:
        raise ProblemsError(f"{where} holds no rows")
    return tuple(tasks)


def _task(source: str, fields: dict[str, str]) -> Problem:
    return Problem(
        problem_id=f"{source}-{fields['task_id']}",
        source=source,
        question=fields["prompt"],
        answer=f"{fields['test'].strip()}\n\ncheck({fields['entry_point']})\n",
    )


def solution(prompt: str, reply: str, entry_point: str) -> str:
    """The program that a reply makes of its prompt, tests not included.

    A whole function is put after the prompt: it may use the prompt's imports and helpers, and
    replaces the empty definition there. Any other reply continues the prompt.
    """
    blocks = [step.action for step in parse_trajectory(reply) if step.action is not None]
    whole = [block for block in blocks if f"def {entry_point}(" in block]
    if whole:
        return f"{prompt}\n\n{whole[-1]}\n"
    return f"{prompt}{blocks[-1] if blocks else reply}\n"


class Tested(NamedTuple):
    """The result of a completion's tests."""

    verdict: Verdict | None
    """None if the sandbox could not run them."""
    seconds: float
    error: str | None = None


async def run_tests(problem: Problem, reply: str, sandbox: Sandbox, limits: Limits) -> Tested:
    """Run a task's tests on the program that a reply makes of it."""
    entry_point = problem.answer.rstrip().rpartition("check(")[2].removesuffix(")")
    program = solution(problem.question, reply, entry_point)
    execution = await sandbox.run_against(
        f"{_PEER}\nbe_solution({program!r}, {entry_point!r})\n",
        f"{_PEER}\nbe_tests({problem.question!r}, {problem.answer!r}, {entry_point!r})\n",
        limits,
    )
    seconds = execution.wall_ms / 1000
    if execution.outcome is Outcome.INFRA_ERROR:
        return Tested(None, seconds, execution.stderr.strip() or "the sandbox broke")
    passed = execution.outcome in FINISHED
    last = execution.stderr.strip().rpartition("\n")[2] or str(execution.outcome)
    reason = "passed" if passed else last
    return Tested(Verdict(correct=passed, method=TESTS, reason=reason), seconds)


class CodeMaker(RolloutMaker):
    """Makes completions of code tasks, judged by their tests. Its configuration must say cot."""

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", INSTRUCTION.replace("{question}", problem.question)),)

    @property
    def prompt_hash(self) -> str:
        return prompt_hash(INSTRUCTION)

    async def judge(self, item: Item, builder: TrajectoryBuilder, meter: Meter) -> Judgement:
        reply = builder.transcript.text
        if builder.ending.is_infrastructure:
            return Judgement(None, extract_answer(reply))
        tested = await run_tests(item.problem, reply, self._sandbox, self._tools.limits)
        meter.sandbox_seconds += tested.seconds
        if tested.verdict is None:
            builder.ending, builder.error = Ending.SANDBOX_ERROR, tested.error
        return Judgement(tested.verdict, extract_answer(reply))
