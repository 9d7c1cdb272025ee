"""The rows of a code benchmark: completions of a function, judged by running its tests."""

from __future__ import annotations

from storage.records import Ending, Problem
from tirgen.engine.protocol import Message
from tirgen.evaluation.code import INSTRUCTION, run_tests
from tirgen.jobs.maker import Item, Judgement
from tirgen.jobs.policy_maker import RolloutMaker
from tirgen.tir.driver import Meter
from tirgen.tir.prompts import prompt_hash
from tirgen.tir.story import Story
from tirgen.verification import extract_answer


class CodeMaker(RolloutMaker):
    """Makes one completion of a code task; the configuration's `reasoning` must be cot."""

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", INSTRUCTION.replace("{question}", problem.question)),)

    @property
    def prompt_hash(self) -> str:
        return prompt_hash(INSTRUCTION)

    async def judge(self, item: Item, story: Story, meter: Meter) -> Judgement:
        reply = story.transcript.text
        if story.ending.is_infrastructure:
            return Judgement(None, extract_answer(reply))
        tested = await run_tests(item.problem, reply, self._sandbox, self._tools.limits)
        meter.sandbox_seconds += tested.seconds
        if tested.verdict is None:
            story.ending, story.error = Ending.SANDBOX_ERROR, tested.error
        return Judgement(tested.verdict, extract_answer(reply))
