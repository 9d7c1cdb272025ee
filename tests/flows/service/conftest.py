from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.service.stack import Stack
from tests.ports import free_port


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service as a user starts it, on a free port and a store of its own; it looks for work
    more often, since tests have no time."""
    hurried = {
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "3",
    }
    service = Stack(tmp_path_factory.mktemp("service"), free_port(), hurried)
    service.tirgen("up")
    yield service
    service.tirgen("down")
