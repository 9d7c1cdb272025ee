"""What the verifier can say of gold answers alone: which it cannot judge by, which are the same."""

from __future__ import annotations

from storage.records import Verdict
from tirgen.verification import verify
from tirgen.verification.judge import judge

_PROBE = "-271828.1828"
"""An answer that is hardly ever right, to see what the verifier makes of the gold one."""


def undecidable(gold: str) -> str | None:
    """Why nothing can be judged by this gold answer; None where it can.

    By the layers that need no worker: what only the symbolic one cannot read is not found.
    """
    verdict = judge(gold, _PROBE, _not_asked)
    return None if verdict.is_decided else verdict.reason


def same_answer(one: str, other: str) -> bool:
    """Two spellings of one answer, such as ``84``, ``84.0`` and ``$84$``.

    Raises VerifierUnavailable where it needs a worker and none can be started.
    """
    return one == other or verify(one, f"\\boxed{{{other}}}", require_box=False).correct


def _not_asked(gold: str, answer: str) -> Verdict:
    return Verdict(correct=False, method="probe", reason="another answer")
