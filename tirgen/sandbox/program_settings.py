"""What one program may use, and where programs run."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tirgen.sandbox.contract import Limits
from tirgen.sandbox.modes import Mode
from tirgen.settings import ServerUrl, Settings


class SandboxSettings(Settings):
    """What one program may use, and where it runs."""

    cpu_seconds: float = Field(10, gt=0)
    wall_seconds: float = Field(15, gt=0)
    """Time spent waiting for a core is not counted."""
    memory_mb: int = Field(1024, ge=64)
    """Memory beyond what the interpreter itself needs."""
    services: tuple[ServerUrl, ...] = ()
    """Addresses of `tirgen sandbox serve`, used in turn; without any, programs run on this
    machine. Their token is read from TIRGEN_SANDBOX_TOKEN, or from the file that
    TIRGEN_SANDBOX_TOKEN_FILE names, or is the token that a service of this user on this machine
    created."""
    floor: Mode = Mode.BARE
    """Weakest isolation accepted, on this machine and from the services."""
    python: str | None = None
    """Interpreter that runs programs, such as ``/path/to/venv/bin/python``; programs can import
    what is installed there. Default: tirgen's own. A service has its own (`tirgen sandbox
    serve`)."""
    preload: tuple[str, ...] = ()
    """Modules that are imported once for all programs, in addition to numpy and sympy. A program
    that imports one of them starts faster."""

    @model_validator(mode="after")
    def _python_of_this_machine(self) -> SandboxSettings:
        if self.services and (self.python or self.preload):
            raise ValueError(
                "python and preload apply to programs that run on this machine; start the "
                "services with tirgen sandbox serve --python ... --preload ..."
            )
        return self

    def limits(self) -> Limits:
        """The limits of each program."""
        return Limits(**self.model_dump(include={"cpu_seconds", "wall_seconds", "memory_mb"}))

    def place(self) -> dict[str, Any]:
        """Where programs run: the arguments of `open_sandbox`."""
        return self.model_dump(include={"services", "floor", "python", "preload"})

    def identity(self) -> dict[str, Any]:
        """What decides the result of a program; where it runs does not."""
        named = {"python"} if self.python else set()
        return self.model_dump(include={"cpu_seconds", "wall_seconds", "memory_mb", *named})
