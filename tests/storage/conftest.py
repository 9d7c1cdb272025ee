from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from storage.records import (
    Cost,
    Ending,
    FilterVerdict,
    Outcome,
    Problem,
    Program,
    Step,
    Trajectory,
    Verdict,
    trajectory_id,
)
from tests.rows import PROVENANCE


@pytest.fixture(scope="session")
def make_trajectory() -> Callable[..., Trajectory]:
    """A plausible trajectory: two steps, correct, kept; any field can be given otherwise."""

    def make(problem_id: str = "p1", attempt: int = 0, **fields: Any) -> Trajectory:
        key = (problem_id, Program.TIRGEN.value, attempt)
        values: dict[str, Any] = {
            "trajectory_id": trajectory_id("demo", "c0ffee", key),
            "dataset": "demo",
            "program": Program.TIRGEN,
            "attempt": attempt,
            "problem": Problem(
                problem_id=problem_id, source="unit", question="What is 6 times 7?", answer="42"
            ),
            "steps": (
                Step(
                    thought="Let me compute it.",
                    action="print(6 * 7)",
                    observation="42",
                    outcome=Outcome.OK,
                    draft="6 times 7 is 43.",
                    policy_tokens=9,
                ),
                Step(thought="So the answer is \\boxed{42}.", policy_tokens=7),
            ),
            "final_answer": "42",
            "ending": Ending.FINISHED,
            "verdict": Verdict(correct=True, method="math-verify", reason="42 = 42"),
            "filters": (FilterVerdict(rule="correct", kept=True),),
            "provenance": replace(
                PROVENANCE, actor_model="pocket", exact_tokens=True, seed=attempt
            ),
            "cost": Cost(actor_calls=2, actor_completion_tokens=16),
            "created_at": 1.5,
        }
        return Trajectory(**{**values, **fields})

    return make
