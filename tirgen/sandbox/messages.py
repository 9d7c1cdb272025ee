"""The HTTP messages: SandboxFusion's `/run_code` request and reply, and our additions.

The bodies that verl and THOR send work unchanged. Our additions are separate fields: `trajectory`,
`tests` and `limits` in a request, `tirgen` in a reply.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.result import FINISHED

CAPS = Limits(cpu_seconds=60, wall_seconds=60, memory_mb=4096, output_bytes=1 << 20)
"""The most a request may ask for; larger values are reduced to this, as SandboxFusion does."""

MAX_WAITING = 4096
"""Snippets in the queue of a service; beyond it clients get 503 and try again later."""


class ExactLimits(BaseModel):
    """Exact limits, where `run_timeout` and `memory_limit_MB` are too coarse."""

    model_config = ConfigDict(extra="forbid")

    cpu_seconds: float = Field(Limits().cpu_seconds, gt=0)
    wall_seconds: float = Field(Limits().wall_seconds, gt=0)
    memory_mb: int = Field(Limits().memory_mb, ge=1)
    output_bytes: int = Field(Limits().output_bytes, ge=1)


class RunCode(BaseModel):
    """One program. Fields of SandboxFusion that are not supported must be empty."""

    model_config = ConfigDict(extra="ignore")

    code: str
    language: str = "python"
    run_timeout: float = 10.0
    """Seconds of CPU, and of wall time without waiting for a core."""
    compile_timeout: float = 10.0
    """Accepted and ignored: Python is not compiled ahead."""
    memory_limit_MB: int = -1
    """-1 for the default."""
    stdin: str | None = None
    files: dict[str, Any] | None = None
    fetch_files: list[str] | None = None
    trajectory: str | None = Field(None, max_length=256)
    """The trajectory it belongs to: trajectories take turns in the queue."""
    tests: str | None = None
    """A second program, in its own jail at the other end of stdin; the reply is its result
    (`Sandbox.run_against`)."""
    limits: ExactLimits | None = None
    """In place of `run_timeout` and `memory_limit_MB`."""

    def refusal(self) -> str | None:
        """Why this cannot be run, or None."""
        if self.language not in ("python", "python3"):
            return f"language {self.language!r} is not supported; send language 'python'"
        for name in ("stdin", "files", "fetch_files"):
            if getattr(self, name):
                return f"{name} is not supported; put the data into the code"
        if not self.run_timeout > 0:
            return "run_timeout must be above 0 seconds"
        return None

    def capped_limits(self) -> Limits:
        asked = self.limits or ExactLimits(
            cpu_seconds=self.run_timeout,
            wall_seconds=self.run_timeout,
            memory_mb=self.memory_limit_MB if self.memory_limit_MB > 0 else Limits().memory_mb,
        )
        fields = Limits.__slots__
        return Limits(**{name: min(getattr(asked, name), getattr(CAPS, name)) for name in fields})


class RunBatch(BaseModel):
    """Many programs in one request; answered in the same order."""

    items: list[RunCode] = Field(max_length=MAX_WAITING)


class OpenSession(BaseModel):
    """A persistent interpreter."""

    model_config = ConfigDict(extra="forbid")

    memory_mb: int = Field(Limits().memory_mb, ge=1, le=CAPS.memory_mb)
    cpu_budget: float = Field(300.0, gt=0, le=3600)
    """Seconds of CPU for all its cells together."""
    echo: bool = True
    """Print a last bare expression, as a REPL does."""


class Branch(BaseModel):
    """How many new sessions shall start from the same state."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(1, ge=1, le=64)


def reply(execution: Execution, mode: str) -> dict[str, Any]:
    """SandboxFusion's reply; only an infrastructure fault is a SandboxError."""
    faulty = execution.outcome is Outcome.INFRA_ERROR
    late = execution.outcome is Outcome.TIMEOUT
    finished = execution.outcome in FINISHED
    return {
        "status": "SandboxError" if faulty else "Success" if finished else "Failed",
        "message": execution.stderr if faulty else "",
        "compile_result": None,
        "run_result": {
            "status": "Error" if faulty else "TimeLimitExceeded" if late else "Finished",
            "execution_time": execution.wall_ms / 1e3,
            "return_code": None if late else execution.exit_code,
            "stdout": execution.stdout,
            "stderr": execution.stderr,
        },
        "executor_pod_name": None,
        "files": {},
        "tirgen": {
            "outcome": execution.outcome.value,
            "exit_code": execution.exit_code,
            "cpu_ms": execution.cpu_ms,
            "peak_memory_mb": execution.peak_memory_mb,
            "truncated": execution.truncated,
            "mode": mode,
        },
    }


def execution_of(answer: dict[str, Any]) -> Execution:
    """The execution that a reply describes.

    Raises:
        KeyError, ValueError, TypeError: it is not the reply of such a service.
    """
    ours, run = answer["tirgen"], answer["run_result"]
    return Execution(
        outcome=Outcome(ours["outcome"]),
        stdout=run["stdout"],
        stderr=run["stderr"],
        exit_code=ours["exit_code"],
        wall_ms=run["execution_time"] * 1e3,
        cpu_ms=ours["cpu_ms"],
        peak_memory_mb=ours["peak_memory_mb"],
        truncated=ours["truncated"],
    )
