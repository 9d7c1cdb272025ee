"""Plain values as SQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def literal(value: Any) -> str:
    """Text, a number, a truth value or None."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value)


def list_literal(values: Iterable[Any]) -> str:
    """A list of such values."""
    return f"[{', '.join(map(literal, values))}]"
