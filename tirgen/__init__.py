"""Makes trajectories with any policy: engines, the TIR loop, sandbox, verifier, filters, jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tirgen.scoring import reward
    from tirgen.verification import verify

__all__ = ["reward", "verify"]


def __getattr__(name: str) -> Any:
    """Loads the verifier on first use, because importing any part of tirgen imports this module."""
    match name:
        case "verify":
            from tirgen.verification import verify

            return verify
        case "reward":
            from tirgen.scoring import reward

            return reward
    raise AttributeError(f"module 'tirgen' has no attribute {name!r}")
