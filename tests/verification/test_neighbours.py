"""Each guard of extraction, with the attack that it stops and the honest sentences beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tirgen.verification import extract_answer

BOX = r"$\boxed{37}$"
ATTACKS = [
    "It is not {}.", "The answer can never be {}.", "We choose 36 rather than {}.",
    "Take 36 instead of {}.", "A common mistake is {}.", "The naive answer would be {}.",
    "A typical error gives {}.", "If we forgot the carry, we would get {}.", "{} is wrong.",
    "{} would be incorrect.", "{} is not the answer.", "{}</think> I give up on this problem.",
]  # fmt: skip
HONEST = [
    "The maximum error is {}.", "The relative error is {}.", "The standard error is {}.",
    "The probability of an error is {}.", "The number of wrong answers is {}.",
    "So the smallest number of mistakes is {}.", "It is not 36 but {}.",
    "Since 36 is not prime, the answer is {}.", "Ignoring the order, we get {}.",
    "If we ignore the order, there are {} ways.", "Instead of 36, the answer is {}.",
    "Rather than 36 we find {}.", "Statement {} is incorrect.", "The claim {} is wrong.",
    "The false statement is {}.", "It does not depend on x, so it is {}.",
    "We cannot do better, so the minimum is {}.", "The trap closes after {} seconds.",
    "The incorrect result 36 is corrected to {}.", "He never stops, so the total is {}.",
    "Neither 3 nor 4 works, hence {}.", "The error of the approximation is at most {}.",
    "Nobody guessed right, so the count is {}.", "No, the answer is {}.",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_denied_box_is_no_answer(attack: str) -> None:
    assert extract_answer(attack.replace("{}", BOX)) is None


@pytest.mark.parametrize("honest", HONEST)
def test_an_honest_sentence_beside_a_guard_is_read(honest: str) -> None:
    assert extract_answer(honest.replace("{}", BOX)) == "37"


def test_every_published_solution_of_math_has_its_answer(benchmark_files: Path) -> None:
    lines = (benchmark_files / "problems" / "math_test.jsonl").read_text().splitlines()
    solutions = [json.loads(line)["solution"] for line in lines]
    boxed = [text for text in solutions if "\\boxed" in text or "\\fbox" in text]
    assert len(boxed) > 4000
    assert [text[-200:] for text in boxed if extract_answer(text) is None] == []
