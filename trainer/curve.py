"""The loss curve of a training run: JSON lines while it runs, a small SVG plot at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 320, 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of the curve."""

    step: int
    tokens: int
    """Tokens so far, without padding."""
    loss: float
    """Mean over the learned tokens since the last point, in nats."""
    learning_rate: float
    seconds: float
    """Since the start of the run, without interruptions."""


def write_points(path: Path, points: Sequence[Point]) -> None:
    """Write the points as JSON lines, replacing the file."""
    path.write_text("".join(json.dumps(asdict(point)) + "\n" for point in points), "utf-8")


def append_point(path: Path, point: Point) -> None:
    """Append one line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(point)) + "\n")


def write_plot(path: Path, points: Sequence[Point], title: str) -> None:
    """Loss over tokens as SVG, the loss on a logarithmic axis.

    Raises ValueError if there is no point.
    """
    if not points:
        raise ValueError("a loss curve needs at least one point")
    low = math.log(min(point.loss for point in points))
    high = math.log(max(point.loss for point in points))
    most = points[-1].tokens
    line = " ".join(
        f"{_x(point.tokens / most):.1f},{_y(math.log(point.loss), low, high):.1f}"
        for point in points
    )
    labels = [
        _label(MARGIN, 24, title),
        _label(4, MARGIN, f"{math.exp(high):.2f}"),
        _label(4, HEIGHT - MARGIN, f"{math.exp(low):.3f}"),
        _label(MARGIN, HEIGHT - 16, "0"),
        _label(WIDTH - 3 * MARGIN, HEIGHT - 16, f"{most:,} tokens"),
    ]
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
        f'<polyline points="{line}" fill="none" stroke="steelblue" stroke-width="1.5"/>\n'
        + "".join(labels)
        + "</svg>\n",
        "utf-8",
    )


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - 2 * MARGIN)


def _y(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="12">{text}</text>\n'
