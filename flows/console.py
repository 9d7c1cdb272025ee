"""Where output goes: stdout is data, stderr is narration, on every command."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console, RenderableType
from rich.text import Text

from storage.text import safe_text, to_json

PIPE_WIDTH = 120
"""Columns when neither a terminal nor COLUMNS tells how many there are."""


class _Output(Console):
    """A console whose reader may leave early, which is no failure: see `flows.cli.run`."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


_told = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
stdout = _Output(width=None if _told else PIPE_WIDTH)
stderr = Console(stderr=True)

Json = Annotated[
    bool,
    Parameter(
        name="--json", negative="", help="Print one JSON document on stdout, not text for people."
    ),
]


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
    sys.stdout.write(to_json(_plain(document)) + "\n")


def show_settings(settings: Mapping[str, Any]) -> None:
    """Every setting under its dotted name, as `--set` takes it; the value is JSON."""
    for name, value in _flat(settings):
        show(safe_text(f"{name} = {to_json(value)}"))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(value: Any) -> Any:
    """JSON has no word for NaN or infinity, for which null stands in, and one kind of number: SQL's
    decimals, such as the sum of whole numbers, are numbers too."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


def say(text: str) -> None:
    """Narration for people; whatever is quoted in it is shown and never acts."""
    stderr.print(safe_text(text), soft_wrap=True)


def show(renderable: RenderableType) -> None:
    """Data for people."""
    stdout.print(renderable, soft_wrap=isinstance(renderable, Text))
