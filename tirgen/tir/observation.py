"""What a policy is shown of an execution: its real output, cut in the middle when it is long.

Unlike in the official code (method D8), output with the word Error in it is output, a program that
printed nothing is not called a timeout, and what a program printed before it failed is kept.
"""

from __future__ import annotations

from storage.records import Outcome
from tirgen.sandbox.contract import PRINTED_NOTHING, Execution, Limits
from tirgen.tir.markup import defuse_fences


def observe(execution: Execution, limits: Limits, max_characters: int) -> str:
    """The observation `o` for one execution, without its fences.

    At most about `max_characters` characters: longer output is cut in the middle, with a mark
    (method D8 keeps 128 + 128). Raises ValueError for an infrastructure fault.
    """
    parts = [execution.stdout.strip()]
    match execution.outcome:
        case Outcome.OK:
            pass
        case Outcome.NO_OUTPUT:
            parts = [PRINTED_NOTHING]
        case Outcome.ERROR:
            parts.append(execution.stderr.strip() or f"[exit code {execution.exit_code}]")
        case Outcome.TIMEOUT:
            # The limits, not the measured time: the same program must get the same text again.
            cpu, wall = limits.cpu_seconds, limits.wall_seconds
            parts.append(f"[stopped: still running at its limit, {cpu:g} s of CPU or {wall:g} s]")
        case Outcome.OOM:
            parts.append(f"[stopped: more than {limits.memory_mb} MB of memory]")
        case Outcome.INFRA_ERROR:
            raise ValueError("an infrastructure fault is not an observation")
    shown = shorten("\n".join(part for part in parts if part), max_characters)
    return defuse_fences(shown)


def shorten(text: str, max_characters: int) -> str:
    """Head and tail of a long text, with the number of characters left out in between."""
    if len(text) <= max_characters:
        return text
    half = max_characters // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[... {left_out} characters left out ...]\n{text[-half:]}"
