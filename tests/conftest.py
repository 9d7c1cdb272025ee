"""Servers that all tests of a session share, and the order of files: the longest first."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Before torch is imported, and for every process of a test. Threads of OpenMP wait without
sleeping: with several tests at once the trainer's took five to ten times as long."""
LONGEST = {"training", "jobs", "verification"}
"""Folders that take minutes: begun last, they would keep one core waiting for another."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in LONGEST)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pocket_url() -> AsyncIterator[str]:
    """Where the packaged pocket is served: starting it is most of what a small job costs."""
    from tirgen.embedded.local import embedded_server

    async with embedded_server() as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def thinking_url() -> AsyncIterator[str]:
    """Where the pocket that thinks is served."""
    from tirgen.embedded.local import embedded_server
    from tirgen.embedded.models import THINKING_DIR

    async with embedded_server(THINKING_DIR) as url:
        yield url


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """A sandbox as a service, which answers whatever the test's own event loop does."""
    from tirgen.sandbox.local import LocalSandbox
    from tirgen.sandbox.service import serving

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    service = serving(LocalSandbox())
    try:
        yield asyncio.run_coroutine_threadsafe(service.__aenter__(), loop).result(300)
        asyncio.run_coroutine_threadsafe(service.__aexit__(None, None, None), loop).result(300)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
