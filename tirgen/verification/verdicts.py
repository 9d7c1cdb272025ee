"""What a stored verdict says: whether answers were compared, and whether a row counts as right."""

from __future__ import annotations

from storage.records import Trajectory, Verdict

TESTS = "tests"
"""Method of a verdict: the tests of a code task were run."""
OFF_FORMAT = "format"
"""Method of a verdict: the policy wrote what it must not, and is wrong whatever it answered."""


def compares_answers(verdict: Verdict) -> bool:
    """The verdict compares answers, so verifying again may change it."""
    return verdict.method not in (TESTS, OFF_FORMAT)


def is_right(row: Trajectory) -> bool:
    """By the rules, or in a judge's opinion (method A23)."""
    return row.correct or (row.opinion is not None and row.opinion.judge_correct)
