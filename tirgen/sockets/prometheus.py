"""Metrics in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its samples: labels as text (``name="value",…``), each with a number."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Mapping[str, float]


def exposition(metrics: Iterable[Metric]) -> str:
    """The body of an answer to `/metrics`."""
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for labels, value in metric.samples.items():
            name = f"{metric.name}{{{labels}}}" if labels else metric.name
            lines.append(f"{name} {value}")
    return "\n".join(lines) + "\n"
