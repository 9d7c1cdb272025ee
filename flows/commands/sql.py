"""``tirgen sql``: any read over everything that happened."""

from __future__ import annotations

from flows.commands.common import DEFAULT_STORE, StorePath, read_store
from flows.console import Json, print_json
from flows.tables import show_rows
from storage.errors import QueryError
from storage.sql import query
from storage.views import VIEWS


def sql_command(
    statement: str = "", /, *, store: StorePath = DEFAULT_STORE, json: Json = False
) -> None:
    """Ask the store in DuckDB's SQL, read-only.

    Without a statement, names the views there are.

    Examples:

        tirgen sql "select outcome, count(*) from steps group by all"

        tirgen sql "from failures limit 5" --json

    Parameters
    ----------
    statement
        One SQL query over the views trajectories, all_trajectories, running, steps, failures,
        missing_modules, filters, yields, datasets, policies and evaluations.
    store
        Folder of the store.
    json
        Print a JSON array of row objects on stdout.
    """
    if not statement.strip():
        raise QueryError("there is no statement to run", _views())
    rows = query(read_store(store), statement).to_pylist()
    if json:
        print_json(rows)
    else:
        show_rows(rows)


def _views() -> str:
    width = max(map(len, VIEWS))
    lines = (f"\n  {name:<{width}}  {what}" for name, what in VIEWS.items())
    example = 'tirgen sql "select ending, count(*) from trajectories group by all"'
    return f"ask one of these views, e.g. {example}{''.join(lines)}"
