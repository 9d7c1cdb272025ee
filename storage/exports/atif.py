"""ATIF, Harbor's Agent Trajectory Interchange Format: one JSON object per trajectory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from storage.exports.common import Row, Texts, about
from storage.exports.conversations import PYTHON_TOOL, TOOL_NAME
from storage.records import Step, Trajectory

VERSION = "ATIF-v1.7"


def atif(trajectories: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """The question is step 1; each step of the trajectory is an agent step with call and output.

    What the format has no field for (verdict, filters, seeds, drafts, attempts) is under `extra`.
    """
    for trajectory in trajectories:
        made, cost = trajectory.provenance, trajectory.cost
        user = {
            "step_id": 1,
            "source": "user",
            "message": texts.plain_prompt(trajectory.problem),
            "timestamp": datetime.fromtimestamp(trajectory.created_at, UTC).isoformat(),
        }
        yield {
            "schema_version": VERSION,
            "session_id": made.run_id,
            "trajectory_id": trajectory.trajectory_id,
            "agent": {
                "name": "tirgen",
                "version": made.code_version,
                "model_name": made.actor_model,
                "tool_definitions": [PYTHON_TOOL],
                "extra": asdict(made),
            },
            "steps": [user, *(_step(n, step) for n, step in enumerate(trajectory.steps, 2))],
            "final_metrics": {
                "total_prompt_tokens": cost.actor_prompt_tokens + cost.critic_prompt_tokens,
                "total_completion_tokens": (
                    cost.actor_completion_tokens + cost.critic_completion_tokens
                ),
                "total_steps": 1 + len(trajectory.steps),
                "extra": asdict(cost),
            },
            "extra": _extra(trajectory),
        }


def _step(number: int, step: Step) -> Row:
    said: Row = {"step_id": number, "source": "agent", "message": step.thought}
    if step.action is not None:
        call = f"call_{number}"
        arguments = {"code": step.action}
        said["tool_calls"] = [
            {"tool_call_id": call, "function_name": TOOL_NAME, "arguments": arguments}
        ]
        if step.observation is not None:
            said["observation"] = {
                "results": [{"source_call_id": call, "content": step.observation}]
            }
    said["metrics"] = {"completion_tokens": step.policy_tokens}
    said["extra"] = {
        "outcome": step.outcome,
        "draft": step.draft,
        "attempts": [asdict(attempt) for attempt in step.attempts],
        "llm_seconds": step.llm_seconds,
        "sandbox_seconds": step.sandbox_seconds,
    }
    return said


def _extra(trajectory: Trajectory) -> dict[str, Any]:
    return {
        **about(trajectory),
        "dataset": trajectory.dataset,
        "program": trajectory.program,
        "attempt": trajectory.attempt,
        "ending": trajectory.ending,
        "error": trajectory.error,
        "kept": trajectory.kept,
        "verdict": trajectory.verdict and asdict(trajectory.verdict),
        "filters": [asdict(verdict) for verdict in trajectory.filters],
    }
