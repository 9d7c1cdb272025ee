"""Makes completions of code tasks, judged by their tests in the sandbox.

Prompt and completion run in one jail and answer calls. The tests run in another jail, where no
object of the solution ever exists (`tirgen.jobs.code_peer`). The completion is right if the tests'
process exits normally, as the kernel reports.

Not covered: tests of what a function does to its arguments, and of a second function that only the
solution defines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from storage.records import Ending, Outcome, Problem, Verdict
from tirgen.data.code_tasks import CodeLayout, CodeTask
from tirgen.engine.protocol import Message
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.maker import Item, Judgement
from tirgen.jobs.rollout_maker import JobContext, RolloutMaker
from tirgen.sandbox.contract import Limits, Sandbox
from tirgen.sandbox.result import FINISHED
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.driver import UsageCounter
from tirgen.tir.markup import parse_trajectory
from tirgen.tir.prompts import prompt_hash
from tirgen.verification import extract_answer
from tirgen.verification.verdicts import TESTS

_REPLY = "Reply with {} in one fenced Python block and nothing else."
INSTRUCTIONS = {
    "humaneval": "Complete the following Python function. " + _REPLY.format("the whole function")
    + "\n\n```python\n{question}\n```",
    "mbpp": "Write a Python function that passes the test. " + _REPLY.format("the whole function")
    + "\n\n{question}",
    "program": "Write a Python program that solves the following problem. It reads the input from "
    "stdin and prints the output to stdout. " + _REPLY.format("the whole program")
    + "\n\n{question}",
    "method": "Solve the following problem in Python by completing the code. "
    + _REPLY.format("the whole code") + "\n\n{question}",
}  # fmt: skip
"""What the policy is asked, by kind of task."""
CALL_SECONDS = 6
"""CPU seconds of one call of a solution, as in LiveCodeBench's own judge."""
TASK_SECONDS = 60.0
"""CPU seconds of all tests of a task; a sandbox service allows no more."""
_PEER = Path(__file__).with_name("code_peer.py").read_text(encoding="utf-8")


def instruction(task: CodeTask) -> str:
    """The key in `INSTRUCTIONS`."""
    if task.layout is not CodeLayout.LIVECODEBENCH:
        return str(task.layout)
    return "method" if task.entry_point else "program"


def solution(task: CodeTask, reply: str) -> str:
    """The program that a reply makes of its task, tests not included.

    The last block counts; if a function is asked for, the last that defines it. HumanEval's prompt
    comes before it, with imports and helpers that the function may use; a block without the
    function continues the prompt.
    """
    blocks = [step.action for step in parse_trajectory(reply) if step.action is not None]
    whole = [block for block in blocks if f"def {task.entry_point}(" in block]
    program = (whole or blocks or [reply])[-1]
    if task.layout is not CodeLayout.HUMANEVAL:
        return program
    return f"{task.prelude}\n\n{program}\n" if whole else f"{task.prelude}{program}\n"


class Tested(NamedTuple):
    """The result of a completion's tests."""

    verdict: Verdict | None
    """None if the sandbox could not run them."""
    seconds: float
    error: str | None = None


async def run_tests(task: CodeTask, reply: str, sandbox: Sandbox, limits: Limits) -> Tested:
    """Run a task's tests on the program that a reply makes of it.

    Solution and tests may each use as much as `limits` says, for all calls together.
    """
    program, name = solution(task, reply), task.entry_point
    each = min(CALL_SECONDS, limits.cpu_seconds)
    code = f"be_program({task.prelude!r}, {program!r}, {each})"
    if name:
        code = f"be_function({task.prelude!r}, {program!r}, {name!r}, {each})"
    tests = f"be_tests({task.prelude!r}, {task.tests!r}, {name!r})"
    if task.layout is CodeLayout.LIVECODEBENCH:
        tests = f"be_cases({task.tests!r}, {not name})"
    execution = await sandbox.run_against(f"{_PEER}\n{code}\n", f"{_PEER}\n{tests}\n", limits)
    seconds = execution.wall_ms / 1000
    if execution.outcome is Outcome.INFRA_ERROR:
        return Tested(None, seconds, execution.stderr.strip() or "the sandbox broke")
    passed = execution.outcome in FINISHED
    last = execution.stderr.strip().rpartition("\n")[2] or str(execution.outcome)
    reason = "passed" if passed else last
    return Tested(Verdict(correct=passed, method=TESTS, reason=reason), seconds)


class CodeMaker(RolloutMaker):
    """Makes completions of code tasks, always by chain of thought."""

    def __init__(
        self, config: EvaluationConfig, context: JobContext, tasks: Iterable[CodeTask]
    ) -> None:
        plain = config.model_copy(update={"reasoning": "cot", "correction": None})
        super().__init__(plain, context)
        self._limits = replace(
            self._tools.limits, cpu_seconds=TASK_SECONDS, wall_seconds=2 * TASK_SECONDS
        )
        self.tasks = {task.problem.problem_id: task for task in tasks}

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        asked = INSTRUCTIONS[instruction(self.tasks[problem.problem_id])]
        return (Message("user", asked.replace("{question}", problem.question)),)

    @property
    def prompt_hash(self) -> str:
        return prompt_hash(json.dumps(INSTRUCTIONS, sort_keys=True))

    async def judge(self, item: Item, builder: TrajectoryBuilder, usage: UsageCounter) -> Judgement:
        reply = builder.transcript.text
        if builder.ending.is_infrastructure:
            return Judgement(None, extract_answer(reply))
        task = self.tasks[item.problem.problem_id]
        tested = await run_tests(task, reply, self._sandbox, self._limits)
        usage.sandbox_seconds += tested.seconds
        if tested.verdict is None:
            builder.ending, builder.error = Ending.SANDBOX_ERROR, tested.error
        return Judgement(tested.verdict, extract_answer(reply))
