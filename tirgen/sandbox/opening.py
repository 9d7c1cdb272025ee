"""Which sandbox a run uses: this machine's, or the services its configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from tirgen.sandbox.modes import Mode
from tirgen.sandbox.remote import RemoteSandbox
from tirgen.sandbox.supervisor import LocalSandbox

AnySandbox: TypeAlias = LocalSandbox | RemoteSandbox


def open_sandbox(
    services: Sequence[str] = (),
    floor: str = Mode.BARE,
    python: str | None = None,
    preload: Sequence[str] = (),
) -> AbstractAsyncContextManager[AnySandbox]:
    """To be entered. Services are shown the token of `tirgen.sandbox.token`; `python` and `preload`
    are for this machine's.

    Raises:
        ValueError: the floor is no mode.
        SecretExposed: as `RemoteSandbox`.
    """
    if services:
        return RemoteSandbox(services, floor=floor)
    return LocalSandbox(floor, python=python, preload=preload)
