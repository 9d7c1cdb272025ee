"""Opening two resources at once: neither waits for the other, and neither is left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tirgen.jobs.workers import enter_both


class Pair:
    """Two context managers; each opens only after the other has begun to."""

    def __init__(self) -> None:
        self.begun = {"first": asyncio.Event(), "second": asyncio.Event()}
        self.open: set[str] = set()

    @asynccontextmanager
    async def manager(self, name: str, other: str, *, fails: bool = False) -> AsyncIterator[str]:
        self.begun[name].set()
        await self.begun[other].wait()
        if fails:
            raise OSError(name)
        self.open.add(name)
        try:
            yield name
        finally:
            self.open.remove(name)


async def test_both_open_at_the_same_time_and_close_with_the_stack() -> None:
    pair = Pair()
    async with AsyncExitStack() as stack:
        first, second = pair.manager("first", "second"), pair.manager("second", "first")
        assert await enter_both(stack, first, second) == ("first", "second")
        assert pair.open == {"first", "second"}
    assert not pair.open


async def test_a_failure_is_raised_as_it_is_and_the_other_one_is_closed() -> None:
    pair = Pair()
    first, second = pair.manager("first", "second"), pair.manager("second", "first", fails=True)
    async with AsyncExitStack() as stack:
        with pytest.raises(OSError, match="second"):
            await enter_both(stack, first, second)
    assert not pair.open
