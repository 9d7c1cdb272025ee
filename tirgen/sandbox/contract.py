"""What the sandbox promises: request, result, and the protocol local and remote keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from storage.records import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one snippet may use."""

    cpu_seconds: float = 10.0
    wall_seconds: float = 15.0
    """Time the snippet may take without being kept waiting for a core."""
    memory_mb: int = 1024
    """Above the interpreter's own."""
    output_bytes: int = 65_536
    """Of each of stdout and stderr that are kept: head and tail, truncation marked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What became of one snippet, decided from the kernel's facts alone."""

    outcome: Outcome
    stdout: str
    stderr: str
    exit_code: int | None
    """Negative for a signal; None when the code never ran."""
    wall_ms: float
    cpu_ms: float
    peak_memory_mb: float
    truncated: bool


class Sandbox(Protocol):
    """Runs snippets, any number at once. Infrastructure faults are outcomes, never exceptions."""

    @property
    def mode(self) -> str:
        """Version and isolation mode, recorded with every trajectory: ``zygote/1 userns``."""
        ...

    async def run(self, code: str, limits: Limits) -> Execution: ...

    async def run_against(self, code: str, tests: str, limits: Limits) -> Execution:
        """Run two snippets, each in a jail of its own, a socket between them as their stdin.

        What became of `tests`, which `code` can reach by nothing but what it writes into the
        socket; of `code`, where it went over its limits first. Each may use as much as `limits`
        says.
        """
        ...
