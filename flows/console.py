"""Where output goes: stdout is data, stderr is narration, on every command."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from storage.render import safe_text

PIPE_WIDTH = 120
"""Columns when no terminal tells how many it has."""


class _Output(Console):
    """A console whose reader may leave early, which is no failure: see `flows.cli.run`."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


stdout = _Output(width=None if sys.stdout.isatty() else PIPE_WIDTH)
stderr = Console(stderr=True)

FOLDED, BORDER = 14, 3
"""Columns of the terminal that a long text in a table needs at least, and a column's border."""
MOST_SHOWN = 400
"""Characters of a value in a row that is shown by itself."""

Json = Annotated[bool, Parameter(name="--json", negative="")]
"""Print one JSON document instead of text for people."""


def command() -> str:
    """How the user can call `tirgen` again from where they are."""
    called = Path(sys.argv[0])
    on_path = shutil.which("tirgen")
    if called.name != "tirgen" or (on_path and Path(on_path).samefile(called)):
        return "tirgen"
    relative = os.path.relpath(called)
    return str(called.absolute()) if relative.startswith("..") else relative


def print_json(document: Any) -> None:
    """Exactly one JSON document on stdout."""
    json.dump(_finite(document), sys.stdout, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def _finite(value: Any) -> Any:
    """JSON has no word for NaN or infinity: null stands in."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def say(text: str) -> None:
    """Narration for people."""
    stderr.print(Text(text), soft_wrap=True)


def show(renderable: RenderableType) -> None:
    """Data for people."""
    stdout.print(renderable, soft_wrap=isinstance(renderable, Text))


def show_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table, or one below the other where that many columns could not be read."""
    if rows and _table_width(rows) > stdout.width:
        for number, row in enumerate(rows, 1):
            stdout.rule(f"row {number}", align="left")
            stdout.print(_record(row))
    else:
        show(table("", rows))


def _table_width(rows: Sequence[Mapping[str, Any]]) -> int:
    """What the columns need to be readable; a long text may be folded."""
    cells = ([name, *(_cell(row[name]) for row in rows)] for name in rows[0])
    return sum(min(max(map(len, column)), FOLDED) + BORDER for column in cells)


def _record(row: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim")
    grid.add_column(overflow="fold")
    for name, value in row.items():
        text = _cell(value)
        more = f"… {len(text) - MOST_SHOWN:,} more characters" if len(text) > MOST_SHOWN else ""
        grid.add_row(Text(name), safe_text(text[:MOST_SHOWN] + more))
    return grid


def table(title: str, rows: Sequence[Mapping[str, Any]], columns: Iterable[str] = ()) -> Table:
    """Rows of plain values as a table; numbers stand to the right, text is never markup."""
    names = list(columns) or list(rows[0] if rows else ())
    grid = Table(title=title or None, title_justify="left")
    for name in names:
        is_number = all(_is_number(row[name]) for row in rows)
        grid.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(safe_text(_cell(row[name])) for name in names))
    return grid


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
