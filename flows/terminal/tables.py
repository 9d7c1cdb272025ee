"""Prints rows of plain values for people: as a table if it fits, else one row below the other.

Names and ids are never broken, so that they can be copied into the next command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from flows.terminal.console import say, show, stdout
from storage.text import safe_text, to_json, visible

FOLDED, BORDER = 14, 3
"""The least width of a text of several words, and the width of a column's border."""
LONGEST_WORD = 40
"""Longer words are broken."""
MOST_SHOWN = 400
"""Characters of a value in a row that is not in a table."""

Rows = Sequence[Mapping[str, Any]]


def show_rows(rows: Rows, title: str = "", expendable: Sequence[str] = ()) -> None:
    """Print the rows as a table; on a narrow terminal without some of the `expendable` columns.

    They are left out in the given order. If the rest is still too wide, the rows are printed one
    below the other. Every row has the columns of the first one.
    """
    if not rows:
        say(f"{title}: no rows" if title else "no rows")
        return
    columns = [_column(name, [row[name] for row in rows]) for name in rows[0]]
    for missing in range(len(expendable) + 1):
        left_out = expendable[:missing]
        shown = [column for column in columns if column.name not in left_out]
        if _fits(shown):
            show(_table(title, shown))
            if left_out:
                say(
                    f"left out, the terminal is too narrow: {', '.join(left_out)} (--json has them)"
                )
            return
    _show_records(title, columns)


def shortened(text: str, most: int) -> str:
    """At most `most` characters; the last one is an ellipsis if something is cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def minute(moment: str) -> str:
    """An ISO time, to the minute."""
    return moment[:16].replace("T", " ")


@dataclass(frozen=True)
class _Column:
    name: str
    heading: str
    """The name made safe to print: PIVOT makes column names of values."""
    cells: list[str]
    is_number: bool

    @cached_property
    def natural(self) -> int:
        """Its width if no line is folded."""
        texts = (self.heading, *self.cells)
        return max(cell_len(line) for text in texts for line in text.split("\n"))

    @cached_property
    def least(self) -> int:
        """Its width if every line is folded as far as allowed."""
        words = (word for text in (self.heading, *self.cells) for word in text.split())
        longest = max((min(cell_len(word), LONGEST_WORD) for word in words), default=0)
        return max(longest, min(FOLDED, max(map(cell_len, self.cells), default=0)))


def _column(name: str, values: Sequence[Any]) -> _Column:
    cells = [visible(_cell(value)) for value in values]
    return _Column(name, visible(name), cells, all(map(_is_number, values)))


def _fits(columns: Sequence[_Column]) -> bool:
    return sum(column.least + BORDER for column in columns) + 1 <= stdout.width


def _widths(columns: Sequence[_Column]) -> list[int]:
    """Natural widths if they fit; else the widest columns are folded first, none below `least`."""
    room = stdout.width - 1 - BORDER * len(columns)
    measured = [(column.natural, column.least) for column in columns]
    level = room
    while True:
        widths = [min(natural, max(least, level)) for natural, least in measured]
        if sum(widths) <= room:
            return widths
        level -= 1


def _table(title: str, columns: Sequence[_Column]) -> Table:
    """Numbers are aligned to the right; text is never markup."""
    grid = Table(title=safe_text(title) if title else None, title_justify="left")
    for column, width in zip(columns, _widths(columns), strict=True):
        grid.add_column(
            Text(column.heading),
            justify="right" if column.is_number else "left",
            overflow="fold",
            width=width,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        grid.add_row(*map(Text, row))
    return grid


def _show_records(title: str, columns: Sequence[_Column]) -> None:
    if title:
        show(safe_text(title, "italic"))
    for number, row in enumerate(zip(*(column.cells for column in columns), strict=True), 1):
        stdout.rule(f"row {number}", align="left")
        stdout.print(_record([column.heading for column in columns], row))


def _record(names: Sequence[str], row: Sequence[str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim")
    grid.add_column(overflow="fold")
    for name, text in zip(names, row, strict=True):
        more = f"… {len(text) - MOST_SHOWN:,} more characters" if len(text) > MOST_SHOWN else ""
        grid.add_row(Text(name), Text(text[:MOST_SHOWN] + more))
    return grid


def _is_number(value: Any) -> bool:
    return value is None or (
        isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | dict):
        return to_json(value)
    return str(value)
