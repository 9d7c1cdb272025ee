"""Plots of training and evaluation, drawn by matplotlib."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tirgen.evaluation.estimates import Estimate

WIDTH, HEIGHT = 3.2, 2.4
"""Size of one panel in inches."""
SVG: Final[Any] = {"svg.hashsalt": "tirgen", "svg.fonttype": "none"}
"""Settings of matplotlib: the same values give the same file, and letters stay text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """A panel with one value and its interval for every stage."""

    title: str
    values: Mapping[str, Estimate | None]
    """By stage; a stage without a value is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A panel of curves over steps or rounds."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    """Points by label; a label may be empty."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn figure of matplotlib; the same values give the same bytes."""

    figure: Any

    def save(self, path: Path) -> None:
        """Write SVG, PNG or PDF, by the ending of the name."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write(path)

    def data_uri(self) -> str:
        buffer = io.BytesIO()
        self._write(buffer, format="svg")
        return data_uri(buffer.getvalue().decode())

    def _write(self, target: Path | io.BytesIO, **options: Any) -> None:
        from matplotlib import rc_context

        with rc_context(SVG):
            self.figure.savefig(target, metadata={"Date": None}, **options)


def marks_plot(panels: Sequence[Marks]) -> Plot:
    """Panels side by side, with a mark and a confidence interval for each stage."""
    figure, axes = _figure(1, len(panels), width=1.4 * WIDTH)
    for axis, panel in zip(axes, panels, strict=True):
        found = {name: value for name, value in panel.values.items() if value is not None}
        heights = [estimate.value for estimate in found.values()]
        below = [estimate.value - estimate.low for estimate in found.values()]
        above = [estimate.high - estimate.value for estimate in found.values()]
        axis.errorbar(list(found), heights, yerr=[below, above], fmt="o", capsize=4)
        axis.set_title(panel.title, fontsize=10)
        axis.tick_params(axis="x", rotation=20, labelsize=8)
        axis.grid(axis="y", linewidth=0.4)
    return Plot(figure)


def lines_plot(xlabel: str, panels: Sequence[Lines]) -> Plot:
    """Panels in rows of three, all over the same quantity."""
    rows = -(-len(panels) // 3)
    figure, axes = _figure(rows, min(3, len(panels)))
    for axis, panel in zip(axes, panels, strict=False):
        for label, points in panel.lines.items():
            axis.plot(*zip(*points, strict=True), marker=".", label=label or None)
        axis.set_title(panel.title, fontsize=10)
        axis.set_xlabel(xlabel, fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if any(panel.lines):
            axis.legend(fontsize=7)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return Plot(figure)


def data_uri(svg: str) -> str:
    """The picture as an address that needs no server."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _figure(rows: int, columns: int, width: float = WIDTH) -> tuple[Any, list[Any]]:
    """Made without pyplot, which keeps every figure and looks for a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, HEIGHT * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)
