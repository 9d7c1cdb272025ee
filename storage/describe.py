"""What every view and column of SQL contains, for people: read from the records and the views."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from functools import cache
from typing import NamedTuple, get_args, get_type_hints

from storage import records
from storage.datasets import Store
from storage.idle import IdleSecond
from storage.schema import COLUMN_NAMES
from storage.sql import query
from storage.view_meanings import COLUMN_MEANINGS, VIEWS


class Column(NamedTuple):
    """One column of a view."""

    view: str
    column: str
    type: str
    """In DuckDB's words."""
    meaning: str


def columns(store: Store) -> list[Column]:
    """Every column of every view, in the order of `VIEWS`."""
    found = query(
        store,
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "ORDER BY table_name, ordinal_position",
    ).to_pylist()
    meanings = {**_from_records(), **COLUMN_MEANINGS}
    return [
        Column(view, name, row["data_type"], meanings.get(f"{view}.{name}") or meanings[name])
        for view in VIEWS
        for row in found
        if row["table_name"] == view
        for name in [row["column_name"]]
    ]


@cache
def _from_records() -> dict[str, str]:
    """By column, the first sentence of the docstring under its field."""
    found: dict[str, str] = {}
    for record in (*_records(records.Trajectory), IdleSecond):
        for name, text in _docstrings(record).items():
            found.setdefault(COLUMN_NAMES.get(name, name), text)
    return found


def _records(record: type) -> list[type]:
    """A record and those that its fields contain, in their order."""
    found = [record]
    for hint in get_type_hints(record).values():
        for part in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                found += _records(part)
    return found


def _docstrings(record: type) -> dict[str, str]:
    [body] = ast.parse(inspect.getsource(record)).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: _sentence(text.value.value)
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split()).removesuffix(".")
