"""Charts of a report as SVG for a page: matplotlib draws, the page's style decides the colours.

Texts come from data, so nothing in them is read as a formula; lines and letters have colours that
are legible on a light and on a dark page.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import cycle, islice
from typing import Any, Final, ParamSpec

from markupsafe import Markup

from flows.terminal.plots import SVG
from storage.text import visible
from tirgen.evaluation.estimates import Estimate

WIDTH: Final = 8.0
"""Inches."""
INK: Final = "#7a8496"
COLOURS: Final = ("#3f7ae0", "#d9822b", "#3f9c6d", "#a15fc4", "#c2453d", "#7a8496")
GOOD, BAD, OTHER = COLOURS[2], COLOURS[4], COLOURS[5]
_LONGEST_LABEL: Final = 34
_BINS: Final = 30

P = ParamSpec("P")
Points = Sequence[tuple[float, float]]


def _styled(draw: Callable[P, Markup]) -> Callable[P, Markup]:
    """Draw with fixed settings; letters stay text, which the page's own font shows."""

    @wraps(draw)
    def styled(*args: P.args, **options: P.kwargs) -> Markup:
        from matplotlib import rc_context

        with rc_context({**SVG, "text.parse_math": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # only matplotlib's own font lacks them
            return draw(*args, **options)

    return styled


@_styled
def bars(
    parts: Mapping[str, Mapping[str, float]], unit: str, colours: Mapping[str, str] = {}
) -> Markup:
    """A horizontal bar for each label, stacked of named parts; parts without a colour get one."""
    figure, axis = _axes(0.55 + 0.3 * len(parts))
    names = list(dict.fromkeys(name for values in parts.values() for name in values))
    labels = [_short(label) for label in parts]
    positions = range(len(labels))
    left = [0.0] * len(labels)
    for number, name in enumerate(names):
        widths = [values.get(name, 0.0) for values in parts.values()]
        colour = colours.get(name, COLOURS[number % len(COLOURS)])
        axis.barh(positions, widths, left=left, color=colour, label=_short(name), height=0.7)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    for position, (values, total) in enumerate(zip(parts.values(), left, strict=True)):
        text = " + ".join(f"{value:,.0f}" for value in values.values() if value)
        axis.annotate(
            text, (total, position), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=8, color=INK,
        )  # fmt: skip
    axis.set_yticks(positions, labels)
    axis.invert_yaxis()
    axis.margins(x=0.16)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel(unit)
    return _svg(figure, axis, legend=len(names) > 1)


def kept_and_dropped(rows: Sequence[Mapping[str, Any]], by: str) -> Markup:
    """A bar for each value of the column `by`, of the numbers in the columns kept and dropped."""
    parts = {row[by]: {"kept": row["kept"], "dropped": row["dropped"]} for row in rows}
    return bars(parts, "trajectories", {"kept": GOOD, "dropped": BAD})


def outcomes_of_programs(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """A bar for each outcome, of the number in the column programs."""
    return bars({row["outcome"]: {"programs": row["programs"]} for row in rows}, "programs")


@_styled
def histogram(values: Mapping[str, Mapping[float, int]], xlabel: str, ylabel: str) -> Markup:
    """How often each value occurs, by named group; a few whole numbers get a bar each."""
    figure, axis = _axes(2.2)
    groups = {_short(name): group for name, group in values.items() if group}
    every = [value for group in groups.values() for value in group]
    whole = all(float(value).is_integer() for value in every)
    low, high = min(every, default=0.0), max(every, default=1.0)
    if apart := whole and high - low <= _BINS:
        edges = [low - 0.5 + step for step in range(int(high - low) + 2)]
    else:
        edges = [low + (high - low or 1.0) * step / _BINS for step in range(_BINS + 1)]
    axis.hist(
        [list(group) for group in groups.values()],
        weights=[list(group.values()) for group in groups.values()],
        bins=edges, stacked=True, label=list(groups), rwidth=0.85 if apart else 1.0,
        color=list(islice(cycle((GOOD, BAD, *COLOURS)), len(groups))),
    )  # fmt: skip
    if whole:
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    return _svg(figure, axis, legend=len(groups) > 1)


@_styled
def intervals(
    values: Mapping[str, Mapping[str, Estimate]], xlabel: str, percent: bool = True
) -> Markup:
    """For each label one mark with its interval in each named series."""
    series = list(dict.fromkeys(name for found in values.values() for name in found))
    figure, axis = _axes(0.6 + 0.22 * len(values) * max(1, len(series)))
    scale = 100.0 if percent else 1.0
    for number, name in enumerate(series):
        shift = 0.25 * (number - (len(series) - 1) / 2)
        for position, found in enumerate(values.values()):
            if (estimate := found.get(name)) is None:
                continue
            errors = [[scale * (estimate.value - estimate.low)],
                      [scale * (estimate.high - estimate.value)]]  # fmt: skip
            axis.errorbar(
                scale * estimate.value, position + shift, xerr=errors, fmt="o", capsize=3,
                color=COLOURS[number % len(COLOURS)], markersize=5,
                label=_short(name) if position == 0 else None,
            )  # fmt: skip
    axis.set_yticks(range(len(values)), [_short(label) for label in values])
    axis.set_ylim(len(values) - 0.5, -0.5)
    axis.set_xlabel(xlabel)
    return _svg(figure, axis, legend=len(series) > 1)


@_styled
def lines(series: Mapping[str, Points], xlabel: str, ylabel: str, whole: bool = False) -> Markup:
    """Curves over one quantity; with `whole` it has no values between whole numbers."""
    figure, axis = _axes(2.2)
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        marker = "o" if len(points) < 40 else None
        axis.plot(
            *zip(*points, strict=True), label=_short(name), color=colour, marker=marker,
            markersize=4, linewidth=1.6,
        )  # fmt: skip
    if whole:
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    return _svg(figure, axis, legend=len(series) > 1)


def _short(label: str) -> str:
    """One visible line of at most `_LONGEST_LABEL` characters; a leading `_` would hide it."""
    text = visible(" ".join(label.split())).lstrip("_") or "none"
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def _axes(height: float) -> tuple[Any, Any]:
    """Made without pyplot, which keeps every figure and looks for a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    axis = figure.subplots()
    axis.set_facecolor("none")
    axis.tick_params(colors=INK, labelsize=8.5)
    axis.xaxis.label.set(color=INK, fontsize=9)
    axis.yaxis.label.set(color=INK, fontsize=9)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    axis.grid(color=INK, alpha=0.2, linewidth=0.6)
    axis.set_axisbelow(True)
    return figure, axis


def _svg(figure: Any, axis: Any, *, legend: bool) -> Markup:
    if legend:
        axis.legend(
            fontsize=8.5, labelcolor=INK, framealpha=0.0, ncols=6, loc="lower left",
            bbox_to_anchor=(0, 1), borderaxespad=0.2,
        )  # fmt: skip
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    return Markup(drawn[drawn.index("<svg") :])
