"""Markdown for Prefect's pages, in which text from problems and models stays text."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

LONGEST_CELL = 120
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
"""What CommonMark lets a backslash make plain. A code span has no such way to hold a backtick, or
a backslash before the pipe of a table."""


class Link(NamedTuple):
    """The one kind of cell that is a link: both parts are ours, never a problem's or a model's."""

    text: str
    address: str


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of plain values, whose texts are never a link, markup or another cell."""
    if not rows:
        return "*none*"
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def fenced(text: str, language: str = "") -> str:
    """A block of code, fenced by more backticks than it holds in a row."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def plain(text: str) -> str:
    """One short line without control characters or anything that reorders the text."""
    line = _CONTROL.sub(" ", text).strip()
    return line if len(line) <= LONGEST_CELL else line[: LONGEST_CELL - 1] + "…"


def inert(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for a table artifact, whose cells would turn markdown links into links."""
    return [{name: _inert(value) for name, value in row.items()} for row in rows]


def _inert(value: Any) -> Any:
    if isinstance(value, Link):
        return f"[{value.text}]({value.address})"
    return plain(value).replace("](", "] (") if isinstance(value, str) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Link):
        return f"[`{value.text}`]({value.address})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    text = plain(str(value))
    if "`" in text or "\\|" in text:
        return _PUNCTUATION.sub(r"\\\g<0>", text)
    return f"`{text}`".replace("|", "\\|") if text else ""
