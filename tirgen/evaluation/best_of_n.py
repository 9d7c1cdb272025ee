"""Best-of-N without a reward model: the candidate whose programs ran (method A22).

Candidates are ranked by their execution pass rate, ok / executed. A candidate without programs has
rate 1, but ranks after candidates with programs and rate 1. A candidate without an answer ranks
after all with one. Ties are broken by a reward model if there is one, then by the majority answer
among the tied (equal answers vote together in any spelling), then at random. Pure functions over
stored rows: the same rows and seed give the same choice, in any order of the rows.

Sample candidates without self-correction: it repairs the failures that distinguish them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from storage.records import Outcome, Trajectory
from tirgen.evaluation.votes import answer_keys


def pass_rate(row: Trajectory) -> float:
    """The share of executed programs that ran, in [0, 1]; 1 if none was executed.

    A program that the sandbox lost was not executed.
    """
    executed = [step.outcome for step in row.calls if step.outcome is not Outcome.INFRA_ERROR]
    return sum(outcome is Outcome.OK for outcome in executed) / len(executed) if executed else 1.0


def contenders(rows: Sequence[Trajectory]) -> list[Trajectory]:
    """The candidates with the best pass rate, ordered by id.

    Raises ValueError without a candidate.
    """
    if not rows:
        raise ValueError("best-of-N needs at least one candidate")
    best = max(map(_rank, rows))
    return sorted((r for r in rows if _rank(r) == best), key=lambda row: row.trajectory_id)


def choose(
    rows: Sequence[Trajectory],
    seed: object,
    scores: Mapping[str, float] | None = None,
    exact_digits: int | None = None,
) -> Trajectory:
    """The best of the candidates of one problem.

    `scores`: those of a reward model, by trajectory id, for every contender if several tie.
    `exact_digits`: that of `Verifier`. Raises KeyError for a missing score, ValueError without a
    candidate, and VerifierUnavailable if answers cannot be compared.
    """
    tied = contenders(rows)
    if scores is not None and len(tied) > 1:
        top = max(scores[row.trajectory_id] for row in tied)
        tied = [row for row in tied if scores[row.trajectory_id] == top]
    keys = answer_keys(tied, exact_digits)
    votes = Counter(keys)
    most = max(votes.values())
    tied = [row for row, key in zip(tied, keys, strict=True) if votes[key] == most]
    return random.Random(f"{seed}/{tied[0].problem.problem_id}").choice(tied)


def _rank(row: Trajectory) -> tuple[bool, float, bool]:
    return (row.final_answer is not None, pass_rate(row), bool(row.calls))
