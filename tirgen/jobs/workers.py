"""Asyncio tasks at the same time: a list worked on by a bounded number, two resources opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Call `work` on every item, in order, with at most `at_once` calls at the same time.

    Raises the first error as it is; the other calls are cancelled.
    """
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    async with task_group() as group:
        for _ in range(at_once):
            group.create_task(worker())


async def enter_both(
    stack: AsyncExitStack,
    first: AbstractAsyncContextManager[A],
    second: AbstractAsyncContextManager[B],
) -> tuple[A, B]:
    """Enter two context managers on the stack at the same time; neither waits for the other.

    Raises the first error as it is; the other one is cancelled or closed by the stack.
    """
    async with task_group() as group:
        one = group.create_task(stack.enter_async_context(first))
        other = group.create_task(stack.enter_async_context(second))
    return one.result(), other.result()


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises the first error of its tasks, not an exception group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that came first; it cancelled the other tasks."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
