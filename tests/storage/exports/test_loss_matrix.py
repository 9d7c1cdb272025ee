"""What each format keeps of a trajectory: the table in docs/exports.md is what happens."""

import json
from dataclasses import replace
from pathlib import Path

from storage.exports.common import Texts
from storage.exports.formats import SPECS, ExportFormat
from storage.records import (
    Attempt,
    Cost,
    Ending,
    FilterVerdict,
    Outcome,
    Problem,
    Program,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
)
from tests.rows import PROVENANCE

PAGE = Path(__file__).parents[3] / "docs" / "exports.md"
TEXTS = Texts(
    tool_prompt=lambda problem: problem.question,
    plain_prompt=lambda problem: problem.question,
    response=lambda steps: "".join(
        s.thought + (s.action or "") + (s.observation or "") for s in steps
    ),
)
FIELDS = {
    "question": "m-question",
    "gold answer": "m-gold",
    "difficulty": "m-difficulty",
    "final answer": "m-final",
    "thoughts": "m-thought",
    "programs": "m-action",
    "outputs": "m-output",
    "outcome of each call": "no_output",
    "actor's draft": "m-draft",
    "repaired attempts": "m-attempt",
    "verdict's reason": "m-reason",
    "filter verdicts": "m-filter",
    "ending": "step_limit",
    "token ids": "40404",
    "log-probabilities": "-0.8125",
    "cost": "70707",
    "models": "m-actor",
    "prompt hashes, seed": "m-hash",
    "policy version": "m-policy",
}
"""Each field of a trajectory, and a value that stands nowhere else."""


def full(attempt: int, *, correct: bool) -> Trajectory:
    """A trajectory with a mark in every field."""
    repaired = Attempt(thought="m-attempt", action="x", observation="y", outcome=Outcome.NO_OUTPUT)
    step = Step(
        thought="m-thought",
        action="m-action",
        observation="m-output",
        outcome=Outcome.NO_OUTPUT,
        draft="m-draft",
        attempts=(repaired,),
    )
    return Trajectory(
        trajectory_id=f"t{attempt}",
        dataset="demo",
        program=Program.ROLLOUT,
        attempt=attempt,
        problem=Problem(
            problem_id="p",
            source="s",
            question="m-question",
            answer="m-gold",
            difficulty="m-difficulty",
        ),
        steps=(step,),
        final_answer="m-final",
        ending=Ending.STEP_LIMIT,
        verdict=Verdict(correct=correct, method="symbolic", reason="m-reason"),
        filters=(FilterVerdict(rule="m-filter", kept=True),),
        provenance=replace(
            PROVENANCE, actor_model="m-actor", actor_prompt_hash="m-hash", policy_version="m-policy"
        ),
        cost=Cost(actor_prompt_tokens=70707),
        tokens=TokenStream(token_ids=(1, 40404), loss_mask=(False, True), logprobs=(None, -0.8125)),
        created_at=0.0,
    )


def matrix() -> str:
    """The table in Markdown; fields that the same formats keep share a row."""
    formats = [
        f for f in ExportFormat if f is not ExportFormat.STEP_PAIRS
    ]  # of branches, not trajectories
    rows = [full(0, correct=True), full(1, correct=False)]
    said = {f: json.dumps(list(SPECS[f].rows(rows, TEXTS))) for f in formats}
    lines = [["", *formats], ["---", *["---"] * len(formats)]]
    fields: dict[tuple[str, ...], list[str]] = {}
    for name, mark in FIELDS.items():
        kept = tuple("kept" if mark in said[f] else "–" for f in formats)
        fields.setdefault(kept, []).append(name)
    lines += [[", ".join(names), *kept] for kept, names in fields.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def test_the_table_in_the_docs_is_what_each_format_keeps() -> None:
    assert matrix() in PAGE.read_text()
