"""Damage that costs only its own place: the rest of the store is read, and this is told once."""

from __future__ import annotations

import logging

from storage.errors import Damaged
from storage.text import visible

_log = logging.getLogger("tirgen.store")
_told: set[str] = set()
"""What this process has told of; a query a second must not tell a line a second."""


def left_out(damage: Damaged) -> None:
    """Tell that the version or run is left out, once in this process."""
    tell(damage.owner, f"left out {damage.owner}, because {damage.message}; {damage.hint}")


def tell(about: str, sentence: str) -> None:
    """Tell something of the store that its reader should know, once in this process."""
    if about not in _told:
        _told.add(about)
        _log.warning("%s", visible(f"warning: {sentence}"))
