"""Warnings about damage: the rest of the store is still read, and each warning is logged once."""

from __future__ import annotations

import logging

from storage.errors import Damaged
from storage.text import visible

_log = logging.getLogger("tirgen.store")
_warned: set[str] = set()
"""Subjects of this process's warnings: a query every second must not log a line every second."""


def warn_left_out(damage: Damaged) -> None:
    """Warn, once per process, that a damaged version or run is left out."""
    warn_once(damage.owner, f"left out {damage.owner}, because {damage.message}; {damage.hint}")


def warn_ignored(damage: Damaged) -> None:
    """Warn, once per process, that a damaged file is left out which nothing else rests on."""
    warn_once(str(damage.path), f"left out a file, because {damage.message}; {damage.hint}")


def warn_once(about: str, sentence: str) -> None:
    """Log a warning, unless this process has already warned about the same subject."""
    if about not in _warned:
        _warned.add(about)
        _log.warning("%s", visible(f"warning: {sentence}"))
