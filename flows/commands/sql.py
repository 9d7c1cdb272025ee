"""``tirgen sql``: any read-only query over the store."""

from __future__ import annotations

from flows.commands.options import DEFAULT_STORE, Flag, Json, StorePath, read_store
from flows.terminal.console import print_json, say
from flows.terminal.tables import show_rows
from storage.describe import columns
from storage.sql import query
from storage.views import VIEWS

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

    Without a statement, lists the views.

    Examples of use:

        tirgen sql "select outcome, count(*) from steps group by all"

        tirgen sql "from failures limit 5" --json

    Parameters
    ----------
    statement
        One SQL query over the views trajectories, all_trajectories, running, baselines,
        all_samples, steps, failures, missing_modules, filters, yields, accuracy, all_accuracy,
        datasets, policies and evaluations.
    schema
        List every column of every view, with its type and meaning.
    """
    if schema:
        rows = [column._asdict() for column in columns(read_store(store))]
    elif not statement.strip():
        rows = [{"view": name, "holds": what} for name, what in VIEWS.items()]
        say(f"ask one of these views, e.g. {EXAMPLE}")
    else:
        rows = query(read_store(store), statement).to_pylist()
    if json:
        print_json(rows)
    else:
        show_rows(rows)
