"""Which of the two is the gold answer matters, and math-verify must be told so."""

from __future__ import annotations

import pytest

from tirgen.verification.symbolic import equivalent
from tirgen.verification.verifier import verify


@pytest.mark.parametrize(("gold", "answer"), [("5", "2+3=5"), ("2+3", "2+3=5")])
def test_an_equation_answers_with_its_right_side_and_asks_with_both(gold: str, answer: str) -> None:
    """D17: exchanged, as in the official code, both are decided wrongly."""
    assert equivalent(gold, answer).correct
    assert not equivalent(answer, gold).correct
    assert verify(gold, rf"\boxed{{{answer}}}").correct
