"""``tirgen traj``: trajectories, found and read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.commands.common import DEFAULT_STORE, StorePath, open_store
from flows.console import Json, print_json, say, show, table
from storage.find import find_trajectory, list_trajectories
from storage.render import render_trajectory, trajectory_html

app = App(name="traj", help="Single trajectories.")


@app.command(name="list")
def list_command(
    dataset: str | None = None,
    *,
    where: str = "true",
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 20,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """List trajectories, those that went wrong first.

    Example: tirgen traj list demo --where "n_failed_calls > 0" --limit 5

    Parameters
    ----------
    dataset
        Only of this dataset (latest version) or version (NAME@vN).
    where
        A SQL condition over the columns of the view `trajectories`.
    limit
        How many at most.
    store
        Folder of the store.
    json
        Print one JSON array on stdout.
    """
    rows = list_trajectories(open_store(store), dataset, where, limit)
    if json:
        print_json(rows)
    elif rows:
        show(table("", rows))
    else:
        say("no trajectory meets the condition; see what there is: tirgen dataset list")


@app.command(name="show")
def show_command(
    trajectory_id: str,
    *,
    html: Path | None = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Show one trajectory: thought, code and output told apart, every verdict with its reason.

    Example: tirgen traj show t3f9a --html trajectory.html

    Parameters
    ----------
    trajectory_id
        Its id, or a prefix that no other has.
    html
        Write a self-contained page there instead.
    store
        Folder of the store.
    json
        Print the whole record as one JSON document on stdout.
    """
    trajectory = find_trajectory(open_store(store), trajectory_id)
    if html is not None:
        html.write_text(trajectory_html(trajectory), "utf-8")
        say(f"wrote {html}")
    elif json:
        print_json(asdict(trajectory))
    else:
        show(render_trajectory(trajectory))
