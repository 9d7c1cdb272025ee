"""Stored rows as an evaluation finds them."""

from __future__ import annotations

from dataclasses import replace

from storage.records import (
    Attempt,
    Cost,
    Ending,
    Outcome,
    Program,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
)
from tests.rows import row
from tirgen.evaluation.estimates import Estimate

OK, BAD = Outcome.OK, Outcome.ERROR


def sample(
    problem: str = "p1",
    attempt: int = 0,
    answer: str | None = "1",
    right: bool = True,
    outcomes: tuple[Outcome, ...] = (OK,),
    corrections: int = 0,
    ending: Ending = Ending.FINISHED,
    method: str = "rules",
    seconds: float = 1.0,
) -> Trajectory:
    """A row of ten policy tokens; each correction cost five more."""
    failed = Attempt(thought="t", action="x", observation="E", outcome=BAD)
    steps = [Step(thought="t", action="x", observation="1", outcome=o) for o in outcomes]
    steps.append(Step(thought="so", attempts=(failed,) * corrections))
    return replace(
        row(problem, attempt, program=Program.ROLLOUT, ending=ending),
        final_answer=answer,
        steps=tuple(steps),
        verdict=None
        if ending.is_infrastructure
        else Verdict(correct=right, method=method, reason="r"),
        tokens=TokenStream(token_ids=(1,) * 10, loss_mask=(True,) * 10, logprobs=(0.0,) * 10),
        cost=Cost(actor_completion_tokens=10 + 5 * corrections, wall_seconds=seconds),
        group_id=problem,
    )


def value(estimate: Estimate | None) -> float:
    """Of a figure that must be there."""
    assert estimate is not None
    return estimate.value
