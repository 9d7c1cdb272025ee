"""What several commands share: where the store is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from storage.datasets import Store

StorePath = Annotated[Path, Parameter(name="--store", env_var="TIRGEN_STORE")]
"""Folder of the store."""

DEFAULT_STORE = Path("store")


def open_store(path: Path) -> Store:
    return Store(path.expanduser())
