"""The recordings beside the repository, and a real sandbox and verifier to run them through."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tirgen.sandbox.local import LocalSandbox
from tirgen.verification import Verifier


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with `problems` and `recorded`."""
    from benchmarks.recorded import shared_data

    if not shared_data().is_dir():
        pytest.skip(f"needs the recordings in {shared_data()}")
    return shared_data()


@pytest.fixture
async def sandbox() -> AsyncIterator[LocalSandbox]:
    async with LocalSandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def verifier() -> AsyncIterator[Verifier]:
    async with Verifier() as verifier:
        yield verifier
