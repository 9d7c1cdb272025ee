"""``tirgen sql``: any read-only query over the store."""

from __future__ import annotations

from flows.commands.options import DEFAULT_STORE, Flag, Json, StorePath, read_store
from flows.terminal.console import print_json, say
from flows.terminal.tables import show_rows
from storage.describe import columns
from storage.macros import MACROS
from storage.sql import query
from storage.view_meanings import VIEWS

EXAMPLE = 'tirgen sql "select ending, count(*) from trajectories group by all"'


def sql_command(
    statement: str = "",
    /,
    *,
    store: StorePath = DEFAULT_STORE,
    schema: Flag = False,
    json: Json = False,
) -> None:
    """Ask the store in DuckDB's SQL, read-only.

    Without a statement, lists the views and macros.

    Examples of use:

        tirgen sql "select outcome, count(*) from steps group by all"

        tirgen sql "from failures limit 5" --json

        tirgen sql "from diff('demo@v1', 'demo@v2')"

    Parameters
    ----------
    statement
        One SQL query over views such as trajectories, steps, calls, failures, filters, yields,
        accuracy, problems, costs, datasets and policies.
    schema
        List every column of every view, with its type and meaning.
    """
    if schema:
        rows = [column._asdict() for column in columns(read_store(store))]
    elif not statement.strip():
        rows = [{"from": name, "holds": what} for name, what in (VIEWS | MACROS).items()]
        say(f"ask one of these, e.g. {EXAMPLE}")
    else:
        rows = query(read_store(store), statement).to_pylist()
    if json:
        print_json(rows)
    else:
        show_rows(rows)
