from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browser import free_port
from stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service as a user starts it, on a free port and a store of its own; its workers look
    for work more often, since tests have no time."""
    hurried = {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    service = Stack(tmp_path_factory.mktemp("service"), free_port(), hurried)
    service.tirgen("up")
    yield service
    service.tirgen("down")
