"""Pairs by kind of value, labelled before the verifier was run on them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from storage.records import Verdict
from tirgen.verification.judge import judge
from tirgen.verification.symbolic import decide

KINDS: dict[str, list[dict[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("fresh.toml").read_text("utf-8")
)
MISSED = 0.03
"""Share of right answers that may be refused."""


def _accepted(
    kind: str, label: str, in_process: Callable[[str, str], Verdict]
) -> dict[tuple[str, str], bool]:
    return {
        (entry["gold"], answer): in_process(entry["gold"], rf"So $\boxed{{{answer}}}$.").correct
        for entry in KINDS[kind]
        for answer in entry.get(label, [])
    }


@pytest.mark.parametrize("kind", KINDS)
def test_right_answers_are_accepted(kind: str, in_process: Callable[[str, str], Verdict]) -> None:
    accepted = _accepted(kind, "right", in_process)
    assert [pair for pair, right in accepted.items() if not right] == []


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_answers_are_refused(kind: str, in_process: Callable[[str, str], Verdict]) -> None:
    accepted = _accepted(kind, "wrong", in_process)
    assert [pair for pair, right in accepted.items() if right] == []


def test_rounded_answers_are_right_only_if_exact_digits_allows_them() -> None:
    rounded = [
        (entry["gold"], answer)
        for entries in KINDS.values()
        for entry in entries
        for answer in entry.get("rounded", [])
    ]
    assert len(rounded) == 4
    for gold, answer in rounded:
        assert not judge(gold, answer, decide).correct
        assert judge(gold, answer, partial(decide, exact_digits=6), 6).correct


def test_few_right_answers_are_missed_and_each_is_named(
    in_process: Callable[[str, str], Verdict],
) -> None:
    missed = {
        pair: right
        for kind in KINDS
        for pair, right in _accepted(kind, "missed", in_process).items()
    }
    right = sum(len(entry.get("right", [])) for entries in KINDS.values() for entry in entries)
    assert [pair for pair, accepted in missed.items() if accepted] == []
    assert len(missed) <= MISSED * (right + len(missed))
