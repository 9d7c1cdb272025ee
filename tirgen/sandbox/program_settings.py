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
    """Not counting time spent waiting for a core."""
    memory_mb: int = Field(1024, ge=64)
    """Above the interpreter's own."""
    services: tuple[ServerUrl, ...] = ()
    """Addresses of `tirgen sandbox serve`, used in turn; without any, programs run here. Their
    token is read from TIRGEN_SANDBOX_TOKEN, or the file that TIRGEN_SANDBOX_TOKEN_FILE names, or
    is the one that a service of this user on this machine made for itself."""
    floor: Mode = Mode.BARE
    """Weakest isolation accepted, here and of the services."""
    python: str | None = None
    """Interpreter that runs programs, such as ``/path/to/venv/bin/python``: they find what is
    installed there. By default tirgen's own. A service has its own (`tirgen sandbox serve`)."""
    preload: tuple[str, ...] = ()
    """Modules loaded once for all programs, beside numpy and sympy: a program that imports one of
    them starts faster by as much as its import takes."""

    @model_validator(mode="after")
    def _python_of_this_machine(self) -> SandboxSettings:
        if self.services and (self.python or self.preload):
            raise ValueError(
                "python and preload are for programs that run here; start the services with "
                "tirgen sandbox serve --python ... --preload ..."
            )
        return self

    def limits(self) -> Limits:
        """Of each program."""
        return Limits(**self.model_dump(include={"cpu_seconds", "wall_seconds", "memory_mb"}))

    def place(self) -> dict[str, Any]:
        """Where programs run, as `open_sandbox` takes it."""
        return self.model_dump(include={"services", "floor", "python", "preload"})

    def identity(self) -> dict[str, Any]:
        """All that decides what a program does: not where it does it."""
        named = {"python"} if self.python else set()
        return self.model_dump(include={"cpu_seconds", "wall_seconds", "memory_mb", *named})
