"""Verdicts that were found otherwise than by comparing a final answer with the gold one."""

from __future__ import annotations

from storage.records import Verdict

TESTS = "tests"
"""The tests of a code task were run."""
OFF_FORMAT = "format"
"""The policy wrote what it must not, and is wrong whatever it answered."""


def compares_answers(verdict: Verdict) -> bool:
    """Comparing the answers once more may find another verdict."""
    return verdict.method not in (TESTS, OFF_FORMAT)
