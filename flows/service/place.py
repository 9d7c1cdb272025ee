"""Where a worker's flows work: settings of the worker, never parameters of a run."""

from __future__ import annotations

import os
from pathlib import Path

from storage.datasets import Store
from tirgen.settings import ConfigError

STORE_VARIABLE = "TIRGEN_STORE"
PAGES_VARIABLE = "TIRGEN_SERVICE_PAGES"
"""Address of `flows.service.pages`, as browsers reach it."""


def worker_store() -> Store:
    """The store named in the worker's environment.

    Raises `ConfigError` where none is: a default relative to a worker's folder would be lost.
    """
    folder = os.environ.get(STORE_VARIABLE)
    if not folder:
        raise ConfigError(
            f"{STORE_VARIABLE} is not set for this worker: start it with `tirgen up --store "
            "FOLDER`, or set the variable to the store's folder before `prefect worker start`"
        )
    return Store(Path(folder).expanduser())


def page_of(trajectory_id: str) -> str | None:
    """The address of a trajectory's page; None where this worker's service serves none."""
    address = os.environ.get(PAGES_VARIABLE)
    return f"{address}/trajectories/{trajectory_id}" if address else None
