"""Rows for tests of what happens around trajectories, and where every test row came from."""

from __future__ import annotations

from typing import Any

from storage.datasets import Store
from storage.records import (
    Ending,
    FilterVerdict,
    Problem,
    Program,
    Provenance,
    Trajectory,
    Verdict,
    trajectory_id,
)
from storage.sql import query

PROVENANCE = Provenance(
    run_id="r",
    config_hash="h",
    actor_model="a",
    critic_model="c",
    engine="e",
    exact_tokens=True,
    sampling="{}",
    actor_prompt_hash="p",
    critic_prompt_hash="q",
    seed=0,
    code_version="0",
    sandbox="s",
)


def row(
    problem: str = "p1",
    attempt: int = 0,
    *,
    program: Program = Program.TIRGEN,
    kept: bool = False,
    ending: Ending = Ending.FINISHED,
    created_at: float = 0.0,
) -> Trajectory:
    return Trajectory(
        trajectory_id=trajectory_id("d", "h", (problem, program.value, attempt)),
        dataset="d",
        program=program,
        attempt=attempt,
        problem=Problem(problem_id=problem, source="s", question=f"{problem}?", answer="1"),
        steps=(),
        final_answer=None,
        ending=ending,
        verdict=Verdict(correct=kept, method="m", reason="r"),
        filters=(FilterVerdict(rule="correct", kept=kept),),
        provenance=PROVENANCE,
        created_at=created_at,
    )


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    """The answer to a query."""
    return [tuple(row.values()) for row in query(store, sql).to_pylist()]
