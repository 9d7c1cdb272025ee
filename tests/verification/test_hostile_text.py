"""The layers that run in this process: whatever a model writes, they answer, and quickly."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.records import Verdict
from tirgen.verification import extract_answer
from tirgen.verification.judge import judge
from tirgen.verification.matching import MatchResult
from tirgen.verification.tokens import MAX_LENGTH
from tirgen.verification.values import Value

DIRECTION = "\u202e"
TOKENS = (
    r"\frac \sqrt \text{ \boxed{ \{ \} { } ( ) [ ] ^ _ = < > \le \ge \ne \in \cup \pm \pi \infty "
    r"\begin{pmatrix} \end{pmatrix} \\ & | , ; : . / * + - ! % \% $ \$ ' ~ \, \left \right x y i e "
    r"A 0 1 2 37 1,000 0.5 1e9 cm meters and or if maybe base per square \circ ½ ² − π ∞ З ٣ "
    f"{DIRECTION}"
).split()
ANSWERS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(TOKENS), max_size=25).map("".join),
    st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join),
)


class _Undecided(Exception):
    pass


def _undecided(gold: Value, answer: Value) -> MatchResult:
    raise _Undecided


def _judge(gold: str, answer: str) -> Verdict | None:
    try:
        return judge(gold, answer, _undecided)
    except _Undecided:
        return None


@settings(max_examples=600, deadline=None)
@given(ANSWERS, ANSWERS)
def test_any_two_texts_get_an_answer(gold: str, answer: str) -> None:
    _judge(gold, answer)


@settings(max_examples=300, deadline=None)
@given(ANSWERS)
def test_every_text_equals_itself(text: str) -> None:
    verdict = _judge(text, text)
    assert verdict is not None
    assert verdict.correct or not text.strip(" \t\n.,;$")


@settings(max_examples=300, deadline=None)
@given(ANSWERS)
def test_extraction_takes_any_response(response: str) -> None:
    extract_answer(response)
    extract_answer(response, require_box=False)


@pytest.mark.parametrize(
    "piece",
    ["(", "[", "{", "\\{", "^", "^{", "9^", "\\frac{", "\\text{", "\\text{a ", " ", "1,", "1 ", "!",
     "=", "x=", "\\pm", "<", "\\cup", " and ", "/", "a/", "\\sqrt{", "|", "&", "\\\\", "$", "%",
     "\\begin{pmatrix}", "1000,", "0.", "e5", "A) ", "km ", "per ", "\\cdot ", "_{", "\\boxed{"],
)  # fmt: skip
def test_repetition_never_makes_a_cheap_layer_slow(piece: str) -> None:
    text = (piece * MAX_LENGTH)[: MAX_LENGTH - 1]
    started = time.process_time()
    for gold, answer in (("5", text), ("5", text + "5"), (text, "5"), ("5", "5" + text)):
        _judge(gold, answer)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "piece",
    ["```", "`", "~~~\n", "<output", "<output>", "</output", "\\boxed", "\\boxed{", "\\boxed{5}",
     "\\boxed{5}, ", " ", "\n", "answer is ", "answer: ", "final ", "####", "{", "}", "\\", "A:"],
)  # fmt: skip
def test_repetition_never_makes_extraction_slow(piece: str) -> None:
    text = (piece * 100_000)[:100_000]
    started = time.process_time()
    for response in (text, text + "x", "\\boxed{5} " + text):
        extract_answer(response)
        extract_answer(response, require_box=False)
    assert time.process_time() - started < 6


@pytest.mark.parametrize(
    "text",
    ["\\boxed{" * 1000 + "5" + "}" * 1000, "\ud800", "1" * 10**6, "(" * 10**6, "\x00", "5\x00",
     "^" * 1500, "-" * 1500, "!" * 1500, "5" + "!" * 1500, "x" + "^2" * 700, "\\frac1" * 280],
)  # fmt: skip
def test_nothing_that_a_model_can_write_raises(text: str) -> None:
    for response in (text, f"\\boxed{{{text}}}"):
        extract_answer(response)
        extract_answer(response, require_box=False)
    _judge("5", text)
    _judge(text, "5")


@pytest.mark.parametrize(
    "text",
    ["2^1e99999999", "2 1/3e99999999", "x + 1e9999", "x^{1e9999}", "3^1e9999", r"\sqrt1e9999"],
)
def test_a_long_exponent_neither_takes_time_nor_raises(text: str) -> None:
    """Powers of ten that are cheap to write, in a place of their own each."""
    started = time.process_time()
    for gold, answer in ((text, "3"), ("3", text), ("x", text)):
        verdict = _judge(gold, answer)
        assert verdict is None or not verdict.correct
    assert time.process_time() - started < 1
