"""Trajectories for the filter tests: a sound one, and any departure from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storage.records import (
    Ending,
    Outcome,
    Problem,
    Program,
    Step,
    Trajectory,
    Verdict,
    trajectory_id,
)
from tests.rows import PROVENANCE

LOOP = "total = 0\nfor n in range(10):\n    total += n\nprint(total)"
MakeTrajectory = Callable[..., Trajectory]


def _steps(
    codes: tuple[str, ...], outcomes: tuple[Outcome, ...] | None, thought: str
) -> tuple[Step, ...]:
    results = outcomes or (Outcome.OK,) * len(codes)
    calls = tuple(
        Step(thought=thought, action=code, observation="45", outcome=outcome)
        for code, outcome in zip(codes, results, strict=True)
    )
    return (*calls, Step(thought="So the answer is $\\boxed{45}$."))


@pytest.fixture
def make_trajectory() -> MakeTrajectory:
    """A trajectory that every rule keeps, unless told otherwise."""

    def make(
        *,
        problem: str = "p1",
        question: str = "What is the sum of the integers below 10?",
        attempt: int = 0,
        program: Program = Program.TIRGEN,
        codes: tuple[str, ...] = (LOOP, LOOP),
        outcomes: tuple[Outcome, ...] | None = None,
        thought: str = "Let us compute the sum $s$.",
        correct: bool = True,
        **fields: Any,
    ) -> Trajectory:
        key = (problem, program.value, attempt)
        defaults: dict[str, Any] = {
            "trajectory_id": trajectory_id("tests", "hash", key),
            "dataset": "tests",
            "program": program,
            "attempt": attempt,
            "problem": Problem(problem_id=problem, source="t", question=question, answer="45"),
            "steps": _steps(codes, outcomes, thought),
            "final_answer": "45",
            "ending": Ending.FINISHED,
            "verdict": Verdict(correct=correct, method="exact", reason="exact: 45 vs 44"),
            "provenance": PROVENANCE,
            "created_at": 0.0,
        }
        return Trajectory(**{**defaults, **fields})

    return make
