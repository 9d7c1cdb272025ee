from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from storage.records import Trajectory
from tests.rows import row
from tirgen.jobs.commit_queue import CommitQueue


async def test_a_row_is_durable_when_add_returns() -> None:
    store: list[Trajectory] = []
    async with CommitQueue(store.extend, seconds=0.01) as queue:
        await queue.commit(row())
        assert store == [row()]


async def test_rows_that_finish_together_share_a_commit() -> None:
    commits = []
    async with CommitQueue(lambda rows: commits.append(len(rows)), seconds=0.01) as queue:
        await asyncio.gather(*(queue.commit(row(attempt=n)) for n in range(50)))
    assert sum(commits) == 50
    assert len(commits) == 1


async def test_what_waits_at_the_end_is_committed() -> None:
    store: list[Trajectory] = []
    async with CommitQueue(store.extend, seconds=30) as queue:
        waiting = asyncio.create_task(queue.commit(row()))
        await asyncio.sleep(0.01)
    assert store == [row()]
    await waiting


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ValueError("not a row")])
async def test_what_the_store_raises_reaches_every_waiting_row(error: OSError | ValueError) -> None:
    def refuse(rows: Sequence[Trajectory]) -> None:
        raise error

    async with CommitQueue(refuse, seconds=0.01) as queue:
        raised = await asyncio.gather(
            *(queue.commit(row(attempt=n)) for n in range(3)), return_exceptions=True
        )
    assert raised == [error] * 3


async def test_a_closed_committer_takes_nothing() -> None:
    async with CommitQueue(lambda rows: None, seconds=0.01) as queue:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await queue.commit(row())
