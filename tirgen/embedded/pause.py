"""Where generations wait while the weights are exchanged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tirgen.embedded.errors import Refusal

_HOLD_SECONDS = 30.0
"""How long a request is held; a publication takes less than a second."""


class Gate:
    """Open it lets requests through; closed it holds new ones while those inside go on."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0

    @property
    def closed(self) -> bool:
        return not self._open.is_set()

    @property
    def empty(self) -> bool:
        return self._inside == 0

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    async def emptied(self) -> None:
        """Wait until nothing is inside."""
        await self._empty.wait()

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Inside for the length of the block. Raises `Refusal` when the gate stays closed."""
        while self.closed:
            await self._held()
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self.empty:
                self._empty.set()

    async def _held(self) -> None:
        try:
            async with asyncio.timeout(_HOLD_SECONDS):
                await self._open.wait()
        except TimeoutError:
            raise Refusal(
                f"the server has been paused for over {_HOLD_SECONDS:.0f} s; whoever paused it "
                "resumes it with POST /resume",
                status=503,
            ) from None
