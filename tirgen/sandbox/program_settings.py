"""The limits of one program, and where programs run."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tirgen.sandbox.contract import Limits
from tirgen.sandbox.modes import IsolationMode
from tirgen.settings import ServerUrl, Settings


class SandboxSettings(Settings):
    """The limits of one program, and where it runs."""

    cpu_seconds: float = Field(10, gt=0)
    wall_seconds: float = Field(15, gt=0)
    """Without the time that the program waits for a core."""
    memory_mb: int = Field(1024, ge=64)
    """In addition to the interpreter's own memory."""
    services: tuple[ServerUrl, ...] = ()
    """Addresses of `tirgen sandbox serve`, used in turn; without any, programs run on this machine.
    The token comes from TIRGEN_SANDBOX_TOKEN, from the file named by TIRGEN_SANDBOX_TOKEN_FILE, or
    from the service itself if it runs on this machine under the same user."""
    floor: IsolationMode = IsolationMode.BARE
    """Weakest accepted isolation, on this machine and of the services."""
    python: str | None = None
    """Interpreter that runs programs, with its installed packages, such as
    ``/path/to/venv/bin/python``; by default tirgen's own. Services have their own setting."""
    preload: tuple[str, ...] = ()
    """Modules that are loaded once for all programs, like numpy and sympy, so that importing them
    takes no time."""

    @model_validator(mode="after")
    def _python_of_this_machine(self) -> SandboxSettings:
        if self.services and (self.python or self.preload):
            raise ValueError(
                "python and preload are for programs on this machine; start the services with "
                "tirgen sandbox serve --python ... --preload ..."
            )
        return self

    def limits(self) -> Limits:
        """The limits of each program."""
        return Limits(**self.model_dump(include={"cpu_seconds", "wall_seconds", "memory_mb"}))

    def place(self) -> dict[str, Any]:
        """Where programs run: the arguments of `open_sandbox`."""
        return self.model_dump(include={"services", "floor", "python", "preload"})

    def identity(self) -> dict[str, Any]:
        """The settings that decide what a program does, but not where it runs."""
        named = {"python"} if self.python else set()
        return self.model_dump(include={"cpu_seconds", "wall_seconds", "memory_mb", *named})
