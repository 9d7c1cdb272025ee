"""The sessions a service holds for its clients: named by unguessable ids, ended when idle."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.fairness import TRAJECTORY
from tirgen.sandbox.session import Session
from tirgen.sandbox.supervisor import LocalSandbox

IDLE_SECONDS = 600.0
MOST_SESSIONS = 256


class NoSuchSession(LookupError):
    """It was closed, expired, or never was."""


class TooManySessions(Exception):
    """The desk holds as many as it will; come back later."""


@dataclass(slots=True)
class _Held:
    session: Session
    used_at: float = field(default_factory=time.monotonic)
    running: int = 0


class Desk:
    """Opens, runs, branches and closes sessions by id."""

    def __init__(
        self, sandbox: LocalSandbox, idle_seconds: float = IDLE_SECONDS, most: int = MOST_SESSIONS
    ) -> None:
        self._sandbox = sandbox
        self._idle_seconds = idle_seconds
        self._most = most
        self._held: dict[str, _Held] = {}
        self._opening = 0
        self.expired = 0

    @property
    def count(self) -> int:
        return len(self._held) + self._opening

    async def open(self, memory_mb: int, cpu_budget: float, echo: bool) -> str:
        """A new session's id.

        Raises:
            TooManySessions: come back later.
            SandboxError: there are no sessions in this mode, or none could be opened.
        """
        self._check_room(1)
        self._opening += 1
        try:
            session = await self._sandbox.session(memory_mb, cpu_budget, echo=echo)
        finally:
            self._opening -= 1
        return self._hold(session)

    async def run(self, name: str, code: str, limits: Limits) -> Execution:
        """Raises NoSuchSession."""
        held = self._find(name)
        TRAJECTORY.set(name)
        held.running += 1
        try:
            return await held.session.run(code, limits)
        finally:
            held.running -= 1
            held.used_at = time.monotonic()

    async def branch(self, name: str, count: int) -> list[str]:
        """Ids of so many more sessions that stand where this one does.

        Raises:
            NoSuchSession, TooManySessions
        """
        held = self._find(name)
        self._check_room(count)
        held.used_at = time.monotonic()
        return [self._hold(await held.session.branch()) for _ in range(count)]

    async def close(self, name: str) -> None:
        """Raises NoSuchSession."""
        self._find(name)
        await self._held.pop(name).session.close()

    def _find(self, name: str) -> _Held:
        if name not in self._held:
            raise NoSuchSession(f"no session {name}: closed, expired after idling, or never opened")
        return self._held[name]

    def _hold(self, session: Session) -> str:
        name = secrets.token_urlsafe(16)
        self._held[name] = _Held(session)
        return name

    def _check_room(self, count: int) -> None:
        if self.count + count > self._most:
            raise TooManySessions(f"{self.count} sessions are open already, {self._most} at most")

    @contextlib.asynccontextmanager
    async def minded(self) -> AsyncIterator[None]:
        """Idle sessions are closed for as long as this lasts, all of them at its end."""
        minder = asyncio.create_task(self._expire_for_ever())
        try:
            yield
        finally:
            minder.cancel()
            await asyncio.wait([minder])
            await asyncio.gather(*map(self.close, list(self._held)))

    async def _expire_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            latest = time.monotonic() - self._idle_seconds
            for name, held in list(self._held.items()):
                if not held.running and held.used_at < latest and name in self._held:
                    self.expired += 1
                    await self.close(name)
