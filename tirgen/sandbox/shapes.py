"""What goes over HTTP: SandboxFusion's `/run_code` request and reply, and what we add to them.

verl's and THOR's bodies are understood unchanged. What the shape cannot say stands in fields of
ours: `trajectory` and `limits` in a request, `tirgen` in a reply.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.execution import FINE

CAPS = Limits(cpu_seconds=60, wall_seconds=60, memory_mb=4096, output_bytes=1 << 20)
"""The most a request may ask for; what it asks above is cut to this, as SandboxFusion does."""

MAX_WAITING = 4096
"""Snippets in the queue of a service; beyond it clients are told to come back (503)."""


class ExactLimits(BaseModel):
    """Our own limits, where `run_timeout` and `memory_limit_MB` are too coarse."""

    model_config = ConfigDict(extra="forbid")

    cpu_seconds: float = Field(Limits().cpu_seconds, gt=0)
    wall_seconds: float = Field(Limits().wall_seconds, gt=0)
    memory_mb: int = Field(Limits().memory_mb, ge=1)
    output_bytes: int = Field(Limits().output_bytes, ge=1)


class RunCode(BaseModel):
    """One program. Fields of SandboxFusion that we cannot honour must be empty."""

    model_config = ConfigDict(extra="ignore")

    code: str
    language: str = "python"
    run_timeout: float = 10.0
    """Seconds of CPU and, waiting for a core apart, of wall time."""
    compile_timeout: float = 10.0
    """Accepted and without meaning: Python is not compiled ahead."""
    memory_limit_MB: int = -1
    """-1 for the default."""
    stdin: str | None = None
    files: dict[str, Any] | None = None
    fetch_files: list[str] | None = None
    trajectory: str | None = Field(None, max_length=256)
    """On whose behalf it runs: trajectories take turns in the queue."""
    tests: str | None = None
    """A second program, in a jail of its own at the other end of stdin; the reply is of this one
    (`Sandbox.run_against`)."""
    limits: ExactLimits | None = None
    """In place of `run_timeout` and `memory_limit_MB`."""

    def refusal(self) -> str | None:
        """Why this cannot be run here, or None."""
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
        return Limits(
            cpu_seconds=min(asked.cpu_seconds, CAPS.cpu_seconds),
            wall_seconds=min(asked.wall_seconds, CAPS.wall_seconds),
            memory_mb=min(asked.memory_mb, CAPS.memory_mb),
            output_bytes=min(asked.output_bytes, CAPS.output_bytes),
        )


class Batch(BaseModel):
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
    """How many more sessions shall stand where this one does."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(1, ge=1, le=64)


def reply(execution: Execution, mode: str) -> dict[str, Any]:
    """SandboxFusion's reply: only an infrastructure fault is a SandboxError, never the code's."""
    broken = execution.outcome is Outcome.INFRA_ERROR
    late = execution.outcome is Outcome.TIMEOUT
    fine = execution.outcome in FINE
    return {
        "status": "SandboxError" if broken else "Success" if fine else "Failed",
        "message": execution.stderr if broken else "",
        "compile_result": None,
        "run_result": {
            "status": "Error" if broken else "TimeLimitExceeded" if late else "Finished",
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
    """The execution a reply of ours tells of.

    Raises:
        KeyError, ValueError, TypeError: it is no reply of ours.
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
