"""What tirgen claims about speed and quality; each claim can be measured beside a peer.

A benchmark is a module `benchmarks/NAME.py` with `CLAIM: str`, one sentence that can turn out
false, and `run(quick: bool) -> Result`. tirgen and its peers run in the same call on the same
machine, so their ratio holds even on a busy machine. Helper modules start with an underscore.
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
    """Show progress on stderr; stdout has only the result."""
    print(text, file=sys.stderr, flush=True)
