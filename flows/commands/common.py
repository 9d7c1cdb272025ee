"""What several commands share: their common options, and where the store is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from flows.console import say

if TYPE_CHECKING:
    from storage.datasets import Store

StorePath = Annotated[
    Path, Parameter(name="--store", env_var="TIRGEN_STORE", help="Folder of the store.")
]

SetOption = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative="",
        help="Any other setting as NAME=VALUE with its dotted name, e.g. sandbox.cpu_seconds=20; "
        "may be repeated. docs/configuration.md has them all.",
    ),
]

DEFAULT_STORE = Path("store")


Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]
"""0 takes any free one."""

AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def open_store(path: Path) -> Store:
    """To write into, too: nothing is created yet."""
    from storage.datasets import Store

    return Store(path.expanduser())


def read_store(path: Path) -> Store:
    """To read from: told where there is none, which is an empty store, since a run may come."""
    store = open_store(path)
    if not store.root.is_dir():
        say(f"note: there is no folder {store.root} (--store names it, or TIRGEN_STORE)")
    return store
