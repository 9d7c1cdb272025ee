from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage.records import Ending, Opinion
from tests.evaluation.answers import sample
from tests.tir.scripted import said
from tirgen.engine.errors import EngineUnavailable
from tirgen.engine.protocol import Completion, Prompt, Renderer, Sampling
from tirgen.filters.judge import AnswerJudge, says_yes
from tirgen.verification.verdicts import OFF_FORMAT, TESTS


class SayingEngine:
    """Says one thing, or fails, and remembers what it was asked."""

    model = "j"
    server = "by hand"
    renderer: Renderer | None = None

    def __init__(self, says: str | Exception) -> None:
        self._says = says
        self.asked: list[tuple[Prompt, Sampling]] = []

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        self.asked.append((prompt, sampling))
        if isinstance(self._says, Exception):
            raise self._says
        return said(self._says, ended=True)


WRONG = sample(answer="{gold} 0.5", right=False)


async def test_the_judge_sees_question_and_both_answers_and_no_solution() -> None:
    engine = SayingEngine("Yes.")
    opinion = await AnswerJudge(engine, 8, 0).opinion(WRONG)
    assert opinion == Opinion(judge_correct=True, judge_model="j", judge_reason="Yes.")
    ((prompt, sampling),) = engine.asked
    text = prompt.messages[0].content
    assert "Problem:\np1?\n" in text
    assert "Reference answer:\n1\n" in text
    assert "Student's answer:\n{gold} 0.5\n" in text
    assert "```" not in text
    assert (sampling.temperature, sampling.max_tokens) == (0.0, 8)


@pytest.mark.parametrize(
    "row",
    [
        sample(),
        sample(right=False, answer=None),
        sample(right=False, method=TESTS),
        sample(right=False, method=OFF_FORMAT),
        sample(ending=Ending.ENGINE_ERROR),
        replace(WRONG, verdict=None),
    ],
)
async def test_only_answers_that_the_rules_call_wrong_are_looked_at(row: Any) -> None:
    engine = SayingEngine("yes")
    assert await AnswerJudge(engine, 8, 0).opinion(row) is None
    assert not engine.asked


async def test_a_judge_out_of_reach_has_no_opinion() -> None:
    engine = SayingEngine(EngineUnavailable("gone"))
    assert await AnswerJudge(engine, 8, 0).opinion(WRONG) is None


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("yes", True),
        ("No.", False),
        ("Is it the same? yes or no... YES", True),
        ("yes? no", False),
        ("", False),
        ("yesterday", False),
    ],
)
def test_the_last_word_decides_and_silence_is_no(reply: str, right: bool) -> None:
    assert says_yes(reply) == right
