"""What is claimed about speed, each claim runnable side by side with a peer.

A benchmark is a module `benchmarks/NAME.py` with `CLAIM: str`, one sentence that can turn out
false, and `run(quick: bool) -> Result`. Ours and the peers run within the same call on the same
machine, so that their ratio means something even where the absolute figures do not. Helper
modules start with an underscore and are not benchmarks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Figures: TypeAlias = Mapping[str, "float | int | str | bool | None"]
"""Measured figures by name; the name carries the unit, e.g. ``rows_per_s`` or ``cpu_ms``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one benchmark measured."""

    ours: Figures
    peers: Mapping[str, Figures]
    """By peer and version, e.g. ``sqlite 3.45``; empty where none can run here."""
    reached: bool
    """The claim held in this run."""
    note: str = ""
    """What a reader must know to judge the figures: sizes, what was left out, and why."""


def narrate(text: str) -> None:
    """Tell the person waiting what is going on; stdout stays free for the result."""
    print(text, file=sys.stderr, flush=True)
