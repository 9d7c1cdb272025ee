"""Is a final answer right: extraction, a grammar of answers, comparison, killable workers."""

from tirgen.verification.extract import extract_answer
from tirgen.verification.judge import undecidable
from tirgen.verification.pool import VerifierUnavailable, WorkerLimits
from tirgen.verification.verifier import Verifier, same_answer, verify

__all__ = [
    "Verifier",
    "VerifierUnavailable",
    "WorkerLimits",
    "extract_answer",
    "same_answer",
    "undecidable",
    "verify",
]
