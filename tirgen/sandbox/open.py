"""Opens the sandbox of a run: the local one, or the services that its configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.modes import IsolationMode
from tirgen.sandbox.remote import RemoteSandbox

AnySandbox: TypeAlias = LocalSandbox | RemoteSandbox


def open_sandbox(
    services: Sequence[str] = (),
    floor: str = IsolationMode.BARE,
    python: str | None = None,
    preload: Sequence[str] = (),
) -> AbstractAsyncContextManager[AnySandbox]:
    """A context manager. Services get the token that `tirgen.sandbox.token` finds; `python` and
    `preload` are for the local sandbox.

    Raises:
        ValueError: the floor is no mode.
        SecretExposed: as `RemoteSandbox`.
    """
    if services:
        return RemoteSandbox(services, floor=floor)
    return LocalSandbox(floor, python=python, preload=preload, warmed=False)
