"""The sessions a service holds for its clients: named by random ids, ended when idle."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.sessions.session import Session
from tirgen.sandbox.slots import TRAJECTORY

IDLE_SECONDS = 600.0
MOST_SESSIONS = 256


class NoSuchSession(LookupError):
    """It was closed, expired, or never existed."""


class TooManySessions(Exception):
    """The registry is full; try again later."""


@dataclass(slots=True)
class _Entry:
    session: Session
    used_at: float = field(default_factory=time.monotonic)
    running: int = 0


class SessionRegistry:
    """Opens, runs, branches and closes sessions by id."""

    def __init__(
        self, sandbox: LocalSandbox, idle_seconds: float = IDLE_SECONDS, most: int = MOST_SESSIONS
    ) -> None:
        self._sandbox = sandbox
        self._idle_seconds = idle_seconds
        self._most = most
        self._entries: dict[str, _Entry] = {}
        self._opening = 0
        self.expired = 0

    @property
    def count(self) -> int:
        return len(self._entries) + self._opening

    async def open(self, memory_mb: int, cpu_budget: float, echo: bool) -> str:
        """A new session's id.

        Raises:
            TooManySessions: try again later.
            SandboxError: this mode has no sessions, or none could be opened.
        """
        self._check_room(1)
        self._opening += 1
        try:
            session = await self._sandbox.session(memory_mb, cpu_budget, echo=echo)
        finally:
            self._opening -= 1
        return self._add(session)

    async def run(self, name: str, code: str, limits: Limits) -> Execution:
        """Raises NoSuchSession."""
        entry = self._find(name)
        TRAJECTORY.set(name)
        entry.running += 1
        try:
            return await entry.session.run(code, limits)
        finally:
            entry.running -= 1
            entry.used_at = time.monotonic()

    async def branch(self, name: str, count: int) -> list[str]:
        """Ids of `count` new sessions that start from the same state.

        Raises:
            NoSuchSession, TooManySessions
        """
        entry = self._find(name)
        self._check_room(count)
        entry.used_at = time.monotonic()
        return [self._add(await entry.session.branch()) for _ in range(count)]

    async def close(self, name: str) -> None:
        """Raises NoSuchSession."""
        self._find(name)
        await self._entries.pop(name).session.close()

    def _find(self, name: str) -> _Entry:
        if name not in self._entries:
            raise NoSuchSession(f"no session {name}: closed, expired after idling, or never opened")
        return self._entries[name]

    def _add(self, session: Session) -> str:
        name = secrets.token_urlsafe(16)
        self._entries[name] = _Entry(session)
        return name

    def _check_room(self, count: int) -> None:
        if self.count + count > self._most:
            raise TooManySessions(f"{self.count} sessions are open already, {self._most} at most")

    @contextlib.asynccontextmanager
    async def expiring(self) -> AsyncIterator[None]:
        """Close idle sessions during the block, and all of them at its end."""
        expiry = asyncio.create_task(self._close_idle())
        try:
            yield
        finally:
            expiry.cancel()
            await asyncio.wait([expiry])
            await asyncio.gather(*map(self.close, list(self._entries)))

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            latest = time.monotonic() - self._idle_seconds
            for name, entry in list(self._entries.items()):
                if not entry.running and entry.used_at < latest and name in self._entries:
                    self.expired += 1
                    await self.close(name)
