"""What the sandbox promises: limits, result, errors, and the interface local and remote share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from storage.records import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one snippet may use."""

    cpu_seconds: float = 10.0
    wall_seconds: float = 15.0
    """Time the snippet may take; time it waits for a core does not count."""
    memory_mb: int = 1024
    """Above the interpreter's own."""
    output_bytes: int = 65_536
    """How much is kept of each of stdout and stderr: head and tail, truncation marked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The result of one snippet, decided from the kernel's facts alone."""

    outcome: Outcome
    stdout: str
    stderr: str
    exit_code: int | None
    """Negative for a signal; None when the code never ran."""
    wall_ms: float
    cpu_ms: float
    peak_memory_mb: float
    truncated: bool


PRINTED_NOTHING = "[the program ran and printed nothing]"
"""What a model reads instead of an empty output."""


class Sandbox(Protocol):
    """Runs snippets, any number at once. Infrastructure faults are outcomes, never exceptions."""

    @property
    def mode(self) -> str:
        """Version and isolation mode, recorded with every trajectory: ``zygote/1 userns``."""
        ...

    async def run(self, code: str, limits: Limits) -> Execution: ...

    async def run_against(self, code: str, tests: str, limits: Limits) -> Execution:
        """Run two snippets, each in its own jail, with a socket between them as their stdin.

        Returns the result of `tests`, or that of `code` where it went over its limits first.
        `code` can reach `tests` only by what it writes into the socket. Each may use as much as
        `limits` says.
        """
        ...


class SandboxError(Exception):
    """Base of everything the sandbox can raise."""


class SandboxUnavailable(SandboxError):
    """No isolation mode as strong as `floor` works on this machine; the message says what to do."""


class SessionsFull(SandboxError):
    """The open sessions hold all the memory they may hold together; close some, or wait."""


class ZygoteFailed(SandboxError):
    """A zygote could not be started in this mode; callers never see it."""


class SelfTestFailed(SandboxError):
    """A mode allowed a forbidden action or blocked an allowed one; callers never see this."""


class ZygoteLost(SandboxError):
    """The zygote ended while a job ran, which may be run again.

    Callers see it from `LocalSandbox.session` only; elsewhere it becomes an `infra_error` outcome.
    """
