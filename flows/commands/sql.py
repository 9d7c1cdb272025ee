"""``tirgen sql``: any read over everything that happened."""

from __future__ import annotations

from flows.commands.common import DEFAULT_STORE, StorePath, open_store
from flows.console import Json, print_json
from flows.tables import show_rows
from storage.sql import query


def sql_command(statement: str, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Ask the store in DuckDB's SQL, read-only.

    Views: trajectories (latest versions), all_trajectories, running, steps, failures, filters,
    yields, datasets.

    Examples:

        tirgen sql "select outcome, count(*) from steps group by all"

        tirgen sql "from failures limit 5" --json

    Parameters
    ----------
    statement
        One SQL query.
    store
        Folder of the store.
    json
        Print a JSON array of row objects on stdout.
    """
    rows = query(open_store(store), statement).to_pylist()
    if json:
        print_json(rows)
    else:
        show_rows(rows)
