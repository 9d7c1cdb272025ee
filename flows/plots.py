"""Plots of training and evaluation as SVG files; needs matplotlib, which the train extra brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tirgen.evaluation.estimates import Estimate

WIDTH, HEIGHT = 3.2, 2.4
"""Of one panel, in inches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """One figure for every stage, with its interval."""

    title: str
    values: Mapping[str, Estimate | None]
    """By stage; a stage that has no such figure is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """One panel of curves over steps or rounds."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    """Points by label; a label may be empty."""


def marks_plot(path: Path, panels: Sequence[Marks]) -> None:
    """Panels side by side, a mark a stage with its confidence interval."""
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
    _save(figure, path)


def lines_plot(path: Path, xlabel: str, panels: Sequence[Lines]) -> None:
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
    _save(figure, path)


def _figure(rows: int, columns: int, width: float = WIDTH) -> tuple[Any, list[Any]]:
    """Without pyplot, which keeps every figure and looks for a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, HEIGHT * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def _save(figure: Any, path: Path) -> None:
    """The same figures give the same bytes."""
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "tirgen", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
