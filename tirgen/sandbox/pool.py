"""The zygotes of one sandbox: dead and worn ones are replaced, the least loaded one is next."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from tirgen.sandbox.cgroups import Cgroup
from tirgen.sandbox.client import PATIENCE_SECONDS, ZygoteClient
from tirgen.sandbox.contract import ZygoteFailed, ZygoteLost
from tirgen.sandbox.interpreter import Interpreter
from tirgen.sandbox.modes import IsolationMode


class ZygotePool:
    """`count` zygotes in `mode`, from `start` to `close`."""

    def __init__(
        self,
        mode: IsolationMode,
        interpreter: Interpreter,
        count: int,
        group: Cgroup | None,
        patience: float = PATIENCE_SECONDS,
        warmed: bool = True,
    ) -> None:
        """The first zygotes are `warmed` at their start, or soon replaced by warmed ones."""
        self._mode = mode
        self._interpreter = interpreter
        self._count = count
        self._group = group
        self._patience = patience
        self._warmed = warmed
        self._zygotes: list[ZygoteClient] = []
        self._repair = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._retired: set[ZygoteClient] = set()
        self.restarts = 0
        """Zygotes replaced because they died or hung."""
        self.retirements = 0
        """Zygotes replaced because they were worn."""

    async def start(self) -> None:
        """Raises ZygoteFailed where this machine does not support the mode."""
        self._zygotes = [await self._new(self._warmed)]
        more = (self._new(self._warmed) for _ in range(self._count - 1))
        self._zygotes += await asyncio.gather(*more)

    async def _new(self, warmed: bool = True) -> ZygoteClient:
        return await ZygoteClient.start(
            self._mode, self._interpreter, self._patience, self._group, warmed
        )

    @property
    def hello(self) -> dict[str, Any]:
        """What the first zygote found when it prepared itself."""
        return self._zygotes[0].hello if self._zygotes else {}

    async def pick(self) -> ZygoteClient:
        """The least loaded healthy zygote.

        Raises:
            ZygoteLost: the sandbox was closed.
            ZygoteFailed: one died and could not be started again.
        """
        async with self._repair:
            for dead in [zygote for zygote in self._zygotes if not zygote.alive]:
                await self._replace(dead)
                self.restarts += 1
        if not self._zygotes:
            raise ZygoteLost("the sandbox was closed")
        picked = min(self._zygotes, key=lambda zygote: zygote.load)
        if picked.is_worn and not self._retiring:
            task = asyncio.create_task(self._retire(picked))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        return picked

    async def _replace(self, old: ZygoteClient) -> None:
        fresh = await self._new()
        if old not in self._zygotes:  # closed meanwhile
            await fresh.close()
            return
        self._zygotes[self._zygotes.index(old)] = fresh
        if not old.alive:
            await old.close()

    async def _retire(self, worn: ZygoteClient) -> None:
        """Put a fresh one in its place; it stays until its last snippet and session have ended."""
        with contextlib.suppress(ZygoteFailed):  # then it goes on; the next pick tries again
            await self._replace(worn)
            self.retirements += worn.warmed
            self._retired.add(worn)
            await worn.drained()
            await worn.close()
            self._retired.discard(worn)

    async def close(self) -> None:
        """End every zygote and with it every snippet."""
        zygotes, self._zygotes = self._zygotes, []
        retiring = list(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        await asyncio.gather(*(zygote.close() for zygote in (*zygotes, *self._retired)))
