"""A horizontal bar chart as a small SVG file, without a plotting library."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

ROW, LABELS, BARS, FIGURES = 24, 150, 420, 110
"""Height of a row, and widths of the three columns, in pixels."""
KEPT, DROPPED = "#2f855a", "#c53030"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: of `whole`, `part` went on."""

    label: str
    part: int
    whole: int


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """The bars, all on the scale of the longest, as one SVG document."""
    scale = BARS / max((bar.whole for bar in bars), default=1)
    height = ROW * (len(bars) + 1) + 8
    width = LABELS + BARS + FIGURES
    rows = "".join(_row(bar, ROW * (number + 1), scale) for number, bar in enumerate(bars))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        f'<text x="4" y="17" font-weight="bold">{escape(title)}</text>{rows}</svg>'
    )


def data_uri(svg: str) -> str:
    """The picture as an address that needs no server."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _row(bar: Bar, top: int, scale: float) -> str:
    part, whole = bar.part * scale, bar.whole * scale
    middle = top + 17
    return (
        f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect x="{LABELS}" y="{top + 4}" width="{whole:.1f}" height="16" fill="{DROPPED}"/>'
        f'<rect x="{LABELS}" y="{top + 4}" width="{part:.1f}" height="16" fill="{KEPT}"/>'
        f'<text x="{LABELS + whole + 6:.1f}" y="{middle}">{bar.part} of {bar.whole}</text>'
    )
