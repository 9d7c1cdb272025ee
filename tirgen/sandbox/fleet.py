"""The zygotes of one sandbox: dead ones are replaced, worn ones retired, the idlest one is next."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from tirgen.sandbox.cgroups import Group
from tirgen.sandbox.errors import ZygoteFailed, ZygoteLost
from tirgen.sandbox.interpreter import Interpreter
from tirgen.sandbox.link import PATIENCE_SECONDS, Link
from tirgen.sandbox.modes import Mode


class Fleet:
    """`count` zygotes in `mode`, from `start` to `close`."""

    def __init__(
        self,
        mode: Mode,
        interpreter: Interpreter,
        count: int,
        group: Group | None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._mode = mode
        self._interpreter = interpreter
        self._count = count
        self._group = group
        self._patience = patience
        self._links: list[Link] = []
        self._repair = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._retired: set[Link] = set()
        self.restarts = 0
        """Zygotes replaced because they died or hung."""
        self.retirements = 0
        """Zygotes replaced because they were worn."""

    async def start(self) -> None:
        """Raises ZygoteFailed where this machine does not support the mode."""
        self._links = [await self._new()]
        more = (self._new() for _ in range(self._count - 1))
        self._links += await asyncio.gather(*more)

    async def _new(self) -> Link:
        return await Link.start(self._mode, self._interpreter, self._patience, self._group)

    @property
    def hello(self) -> dict[str, Any]:
        """What the first zygote found when it prepared itself."""
        return self._links[0].hello if self._links else {}

    async def pick(self) -> Link:
        """The least loaded healthy zygote.

        Raises:
            ZygoteLost: the sandbox was closed.
            ZygoteFailed: one died and could not be started again.
        """
        async with self._repair:
            for link in [link for link in self._links if not link.alive]:
                await self._replace(link)
                self.restarts += 1
        if not self._links:
            raise ZygoteLost("the sandbox was closed")
        link = min(self._links, key=lambda link: link.load)
        if link.is_worn and not self._retiring:
            task = asyncio.create_task(self._retire(link))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        return link

    async def _replace(self, old: Link) -> None:
        fresh = await self._new()
        if old not in self._links:  # closed meanwhile
            await fresh.close()
            return
        self._links[self._links.index(old)] = fresh
        if not old.alive:
            await old.close()

    async def _retire(self, worn: Link) -> None:
        """Put a fresh one in its place; it stays until its last snippet and session are over."""
        with contextlib.suppress(ZygoteFailed):  # it goes on, and is tried again at the next pick
            await self._replace(worn)
            self.retirements += 1
            self._retired.add(worn)
            await worn.drained()
            await worn.close()
            self._retired.discard(worn)

    async def close(self) -> None:
        """End every zygote and with it every snippet."""
        links, self._links = self._links, []
        retiring = list(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in (*links, *self._retired)))
