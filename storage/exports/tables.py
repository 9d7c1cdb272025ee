"""Flat tables of trajectories and of steps, for pandas and spreadsheets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from storage.exports.common import Row, Texts, about, schema, with_about
from storage.records import Trajectory

TRAJECTORIES = with_about(
    ("dataset", pa.string()),
    ("program", pa.string()),
    ("attempt", pa.int64()),
    ("ending", pa.string()),
    ("error", pa.string()),
    ("kept", pa.bool_()),
    ("dropped_by", pa.string()),
    ("verdict_method", pa.string()),
    ("verdict_reason", pa.string()),
    ("n_steps", pa.int64()),
    ("n_failed_calls", pa.int64()),
    ("prompt_tokens", pa.int64()),
    ("completion_tokens", pa.int64()),
    ("llm_seconds", pa.float64()),
    ("sandbox_seconds", pa.float64()),
    ("wall_seconds", pa.float64()),
    ("response", pa.string()),
)
STEPS = schema(
    ("trajectory_id", pa.string()),
    ("step", pa.int64()),
    ("thought", pa.string()),
    ("action", pa.string()),
    ("observation", pa.string()),
    ("outcome", pa.string()),
    ("draft", pa.string()),
    ("n_attempts", pa.int64()),
    ("policy_tokens", pa.int64()),
    ("llm_seconds", pa.float64()),
    ("sandbox_seconds", pa.float64()),
)


def trajectories(rows: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """One flat row per trajectory; `dropped_by` is the first filter rule that dropped it."""
    for row in rows:
        dropped = next((verdict.rule for verdict in row.filters if not verdict.kept), None)
        failed = [s for s in row.calls if s.outcome and s.outcome.is_code_failure]
        yield {
            "dataset": row.dataset,
            "program": row.program,
            "attempt": row.attempt,
            "ending": row.ending,
            "error": row.error,
            "kept": row.kept,
            "dropped_by": dropped,
            "verdict_method": row.verdict.method if row.verdict else None,
            "verdict_reason": row.verdict.reason if row.verdict else None,
            "n_steps": len(row.steps),
            "n_failed_calls": len(failed),
            "prompt_tokens": row.cost.actor_prompt_tokens + row.cost.critic_prompt_tokens,
            "completion_tokens": (
                row.cost.actor_completion_tokens + row.cost.critic_completion_tokens
            ),
            "llm_seconds": row.cost.llm_seconds,
            "sandbox_seconds": row.cost.sandbox_seconds,
            "wall_seconds": row.cost.wall_seconds,
            "response": texts.response(row.steps),
            **about(row),
        }


def steps(rows: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """One flat row per step; steps are counted from 1."""
    for row in rows:
        for number, step in enumerate(row.steps, 1):
            yield {
                "trajectory_id": row.trajectory_id,
                "step": number,
                "thought": step.thought,
                "action": step.action,
                "observation": step.observation,
                "outcome": step.outcome,
                "draft": step.draft,
                "n_attempts": len(step.attempts),
                "policy_tokens": step.policy_tokens,
                "llm_seconds": step.llm_seconds,
                "sandbox_seconds": step.sandbox_seconds,
            }
