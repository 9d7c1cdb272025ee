"""The tiny random model, and a server of it that all tests of the engine share."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.embedded.tiny_model import write_tiny_model
from tirgen.embedded.local import embedded_server


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tiny_server(tiny_model: Path) -> AsyncIterator[str]:
    """The base URL of the tiny model's server, up to and with /v1."""
    async with embedded_server(tiny_model, model="pocket") as base_url:
        yield base_url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session
