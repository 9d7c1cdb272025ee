"""Each guard of extraction, with the attacks that it stops and the honest sentences beside it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tirgen.verification import extract_answer, verify

GUARDS = tomllib.loads(Path(__file__).with_name("neighbours.toml").read_text("utf-8"))
BOX = r"\boxed{37}"


def _sentences(kind: str) -> list[str]:
    return [text for guard in GUARDS.values() for text in guard.get(kind, [])]


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_has_ten_honest_neighbours(guard: str) -> None:
    assert len(set(GUARDS[guard]["honest"])) >= 10


@pytest.mark.parametrize("attack", _sentences("attacks"))
@pytest.mark.parametrize("box", [BOX, f"${BOX}$"])
def test_an_attack_is_no_answer(attack: str, box: str) -> None:
    text = attack.replace("{}", box)
    if box == BOX or not attack.startswith("\\"):
        assert extract_answer(text) is None
        if "36" not in text and "</think>" not in text:
            assert extract_answer(r"I find \boxed{36}." + "\n" + text) == "36"


@pytest.mark.parametrize("honest", _sentences("honest"))
@pytest.mark.parametrize("box", [BOX, f"${BOX}$"])
def test_an_honest_sentence_beside_a_guard_is_read(honest: str, box: str) -> None:
    assert extract_answer(honest.replace("{}", box)) == "37"


@pytest.mark.parametrize("aside", _sentences("aside"))
def test_a_quoted_box_counts_only_where_no_other_does(aside: str) -> None:
    text = aside.replace("{}", BOX)
    assert extract_answer(text) == "37"
    assert extract_answer(r"I find \boxed{36}." + "\n" + text) == "36"


HEDGED = [
    r"37 \text{ or } 38", r"36, 37", r"\text{maybe } 37", r"37 \text{ (or perhaps } 38)", "37?",
    r"\text{not } 37", r"\text{at least } 37", r"\text{either } 37 \text{ or } 38", r"\pm 37",
    r"37 \text{ unless } x = 0", r"36 \text{ to } 38", r"37 \text{ is wrong}",
]  # fmt: skip
PLAIN = [
    "37", "37.", r"\mathbf{37}", r"x = 37", r"37 \text{ apples}", r"\text{The answer is } 37",
    r"37 \text{ or } 37", r"\text{exactly } 37", r"\approx 37", r"36 + 1 = 37", r"37 \text{ ways}",
    r"\text{Thus } 37", r"37 \text{ since } 37 > 36", r"37.0", r"\text{thirty-seven}",
]  # fmt: skip


@pytest.mark.parametrize("answer", HEDGED)
def test_a_hedged_answer_is_wrong(answer: str) -> None:
    assert not verify("37", rf"\boxed{{{answer}}}").correct


@pytest.mark.parametrize("answer", PLAIN)
def test_a_plain_answer_beside_hedges_is_right(answer: str) -> None:
    assert verify("37", rf"\boxed{{{answer}}}").correct


def test_no_guard_takes_the_last_box_of_a_real_solution(benchmark_files: Path) -> None:
    """Published solutions of MATH and recorded ones of five models."""
    solutions = [row["solution"] for row in _rows(benchmark_files / "problems/math_test.jsonl")]
    for row in _rows(benchmark_files / "recorded/gsm8k_model_solutions.jsonl"):
        solutions += [one["solution"] for one in row.values() if isinstance(one, dict)]
    recorded = _rows(benchmark_files / "recorded/tora_code_34b_gsm8k.jsonl")
    solutions += [row["code"][0] for row in recorded]
    boxed = [text for text in solutions if re.search(r"\\(?:boxed|fbox)\s*\{\s*[^}\s]", text)]
    assert len(boxed) > 6000
    assert [text[-200:] for text in boxed if not _has_its_last_box(text)] == []


def _has_its_last_box(text: str) -> bool:
    said = extract_answer(text)
    start = re.compile(r"\\(?:boxed|fbox)\s*\{?\s*([^\s}]{1,6})").findall(text)[-1]
    return said is not None and start in said


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
