"""Is a final answer right: extraction, cheap exact layers, math-verify in killable workers."""

from tirgen.verification.extract import extract_answer
from tirgen.verification.pool import VerifierUnavailable, WorkerLimits
from tirgen.verification.verifier import Verifier, verify

__all__ = ["Verifier", "VerifierUnavailable", "WorkerLimits", "extract_answer", "verify"]
