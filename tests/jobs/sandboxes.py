"""Sandboxes around a real one, which fail in ways that are not the code's fault."""

from __future__ import annotations

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits, Sandbox


class WrappedSandbox:
    """The inner sandbox, and how many programs it was asked to run."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner = inner
        self._calls = 0

    @property
    def mode(self) -> str:
        return self._inner.mode

    async def run_against(self, code: str, tests: str, limits: Limits) -> Execution:
        return await self._inner.run_against(code, tests, limits)

    async def run(self, code: str, limits: Limits) -> Execution:
        self._calls += 1
        return await self._inner.run(code, limits)


class FaultySandbox(WrappedSandbox):
    """Loses every tenth call to a fault that is not the code's."""

    async def run(self, code: str, limits: Limits) -> Execution:
        execution = await super().run(code, limits)
        if self._calls % 10:
            return execution
        return Execution(
            outcome=Outcome.INFRA_ERROR,
            stdout="",
            stderr="zygote lost",
            exit_code=None,
            wall_ms=0,
            cpu_ms=0,
            peak_memory_mb=0,
            truncated=False,
        )
