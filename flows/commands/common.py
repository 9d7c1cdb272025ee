"""What several commands share: where the store is, and bounds of arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from flows.console import say
from storage.datasets import Store

StorePath = Annotated[Path, Parameter(name="--store", env_var="TIRGEN_STORE")]
"""Folder of the store."""

DEFAULT_STORE = Path("store")


Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]
"""0 takes any free one."""

AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def open_store(path: Path) -> Store:
    """To write into, too: nothing is created yet."""
    return Store(path.expanduser())


def read_store(path: Path) -> Store:
    """To read from: told where there is none, which is an empty store, since a run may come."""
    store = open_store(path)
    if not store.root.is_dir():
        say(f"note: there is no folder {store.root} (--store names it, or TIRGEN_STORE)")
    return store
