"""Markdown for Prefect's pages; text of problems and models cannot become markup in it."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

LONGEST_CELL = 120
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""Control characters, line and paragraph separators, and marks that change the text direction."""
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
"""Characters that CommonMark lets a backslash escape. In a code span nothing can escape a backtick,
nor a backslash before the pipe of a table."""


class Link(NamedTuple):
    """A cell that is a link. Neither part may come from a problem or a model."""

    text: str
    address: str


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A markdown table; a text in it is never a link, markup or the end of its cell."""
    if not rows:
        return "*none*"
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def fenced(text: str, language: str = "") -> str:
    """A code block, fenced by more backticks than any run of them in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def plain(text: str) -> str:
    """One short line without control characters and direction marks."""
    line = _CONTROL.sub(" ", text).strip()
    return line if len(line) <= LONGEST_CELL else line[: LONGEST_CELL - 1] + "…"


def inert(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for a table artifact, with markdown links made harmless."""
    return [{name: _inert(value) for name, value in row.items()} for row in rows]


def _inert(value: Any) -> Any:
    if isinstance(value, Link):
        return f"[{value.text}]({value.address})"
    return plain(value).replace("](", "] (") if isinstance(value, str) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Link):
        return f"[{value.text}]({value.address})"  # Prefect shows backticks in a link as such
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    text = plain(str(value))
    if "`" in text or "\\|" in text:
        return _PUNCTUATION.sub(r"\\\g<0>", text)
    return f"`{text}`".replace("|", "\\|") if text else ""
