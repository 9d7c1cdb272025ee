"""Output of every command: data on stdout, messages for people on stderr."""

from __future__ import annotations

import logging
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from storage.objects.address import address_of
from storage.places import shown
from storage.text import safe_text, to_json

DEFAULT_STORE = Path("store")
PIPE_WIDTH = 120
"""Columns if neither a terminal nor COLUMNS gives a number."""


class _Output(Console):
    """A console whose reader may close the pipe early; `flows.cli.run` ends the command then."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


_has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
stdout = _Output(width=None if _has_width else PIPE_WIDTH)
stderr = Console(stderr=True)


def command() -> str:
    """How the user can call `tirgen` again from the current folder."""
    called = Path(sys.argv[0])
    on_path = shutil.which("tirgen")
    if called.name != "tirgen" or (on_path and Path(on_path).samefile(called)):
        return "tirgen"
    relative = os.path.relpath(called)
    return str(called.absolute()) if relative.startswith("..") else relative


def store_option(store: Path) -> str:
    """The option that names the store in a command to copy; empty for the default store."""
    return (
        ""
        if store == DEFAULT_STORE
        else f" --store {shlex.quote(address_of(str(store)) or shown(store))}"
    )


def say(text: str) -> None:
    """Print a message for people on stderr; control characters in it have no effect."""
    stderr.print(safe_text(text), soft_wrap=True)


class _Warnings(logging.Handler):
    def __init__(self, show: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


@contextmanager
def warnings_shown(show: Callable[[str], object] = say) -> Iterator[None]:
    """Show what tirgen warns of while it works, such as an engine that does not answer."""
    logger, handler = logging.getLogger("tirgen"), _Warnings(show)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def show(renderable: RenderableType) -> None:
    """Print data for people on stdout."""
    stdout.print(renderable, soft_wrap=isinstance(renderable, Text))


def print_json(document: Any) -> None:
    """Print exactly one JSON document on stdout."""
    sys.stdout.write(to_json(_plain(document)) + "\n")


def show_settings(settings: Mapping[str, Any]) -> None:
    """Print every setting with its dotted name and a JSON value, as `--set` takes them."""
    for name, value in _flat(settings):
        show(safe_text(f"{name} = {to_json(value)}"))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity, which become null; decimals of SQL become numbers."""
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
