"""Columns that all formats share: where a row came from and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from storage.records import Problem, Step, Trajectory

Row: TypeAlias = dict[str, Any]


def schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    """Columns by name and type."""
    return pa.schema([pa.field(name, type) for name, type in fields])


ABOUT = schema(
    ("trajectory_id", pa.string()),
    ("problem_id", pa.string()),
    ("source", pa.string()),
    ("difficulty", pa.string()),
    ("question", pa.string()),
    ("answer", pa.string()),
    ("final_answer", pa.string()),
    ("correct", pa.bool_()),
    ("n_calls", pa.int64()),
    ("policy_tokens", pa.int64()),
    ("actor_model", pa.string()),
    ("critic_model", pa.string()),
    ("policy_version", pa.string()),
)
"""The columns of `about`."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Renders prompts and responses in the TIR format, which the store does not know."""

    tool_prompt: Callable[[Problem], str]
    """The prompt that asks for programs in fenced blocks."""
    plain_prompt: Callable[[Problem], str]
    """The prompt that asks for reasoning and a boxed answer and does not describe the tool."""
    response: Callable[[Sequence[Step]], str]
    """The steps as one text, with programs and outputs in fenced blocks."""


Rows: TypeAlias = Callable[[Iterable[Trajectory], Texts], Iterator[Row]]
"""Trajectories in the order of their version (by problem, then attempt) as rows of a format."""


def about(trajectory: Trajectory) -> Row:
    """The columns of `ABOUT`; `correct` is None where the answer was not judged."""
    problem, made = trajectory.problem, trajectory.provenance
    return {
        "trajectory_id": trajectory.trajectory_id,
        "problem_id": problem.problem_id,
        "source": problem.source,
        "difficulty": problem.difficulty,
        "question": problem.question,
        "answer": problem.answer,
        "final_answer": trajectory.final_answer,
        "correct": None if trajectory.reward is None else trajectory.correct,
        "n_calls": len(trajectory.calls),
        "policy_tokens": sum(step.policy_tokens for step in trajectory.steps),
        "actor_model": made.actor_model,
        "critic_model": made.critic_model,
        "policy_version": made.policy_version,
    }


def with_about(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    """The schema of a format's own fields, then those of `about`."""
    return pa.schema([*schema(*fields), *ABOUT])
