"""``tirgen traj``: find and read trajectories."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows.commands.options import DEFAULT_STORE, AtLeastOne, Flag, Json, StorePath, read_store
from flows.terminal.comparison import TrajectoryComparison, render_comparison
from flows.terminal.console import print_json, say, show, stdout
from flows.terminal.tables import shortened, show_rows
from storage import files
from storage.datasets import Store
from storage.find import attempts_at, find_trajectory, list_trajectories
from storage.records import Trajectory
from storage.render import render_trajectory

SPARED = ("attempt", "problem", "calls", "failed", "answer")
"""Columns of a list that a narrow terminal leaves out, in this order."""
LONGEST_ANSWER = 24
"""Characters of an answer in a list."""


def list_command(
    dataset: str | None = None,
    *,
    where: str = "true",
    limit: Annotated[AtLeastOne, Parameter(name=["--limit", "-n"])] = 20,
    baselines: Flag = False,
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
        Number of rows, at most.
    baselines
        List the chain-of-thought samples, which measure the difficulty of problems, instead.
    """
    rows = list_trajectories(read_store(store), dataset, where, limit, baselines=baselines)
    if json:
        print_json(rows)
    elif rows:
        show_rows([_for_people(row) for row in rows], expendable=SPARED)
    else:
        say("no trajectory meets the condition; see what there is: tirgen dataset list")


def show_command(
    trajectory_id: str,
    /,
    *,
    html: Path | None = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Show one trajectory: its thoughts, code and outputs, and every verdict with its reason.

    Example: tirgen traj show t3f9a --html trajectory.html

    Parameters
    ----------
    trajectory_id
        Its id, or a prefix of only this id; with @vN as it is in that version.
    html
        Write a self-contained page to this file instead; into a folder that exists, the pages of
        all attempts at the problem, which link to each other.
    """
    opened = read_store(store)
    trajectory = find_trajectory(opened, trajectory_id)
    if html is not None:
        say(f"wrote {_write_page(opened, trajectory, html)}")
    elif json:
        print_json(asdict(trajectory))
    else:
        show(render_trajectory(trajectory))


def _write_page(store: Store, trajectory: Trajectory, path: Path) -> Path:
    """The page of the trajectory, alone in a file or with those of the other attempts."""
    from flows.page.folder import page_name, write_pages  # libraries only where a page is made
    from flows.page.trajectory import Neighbour, trajectory_page

    attempts = attempts_at(store, trajectory)
    if not path.is_dir():
        own = trajectory.trajectory_id
        neighbours = [
            Neighbour(one.attempt, one.reward, None, current=one.trajectory_id == own)
            for one in attempts
        ]
        with files.writing(path) as page:
            page.write(trajectory_page(trajectory, neighbours))
        return path
    shown = {one.trajectory_id: find_trajectory(store, one.trajectory_id) for one in attempts}
    write_pages(path, [*(shown | {trajectory.trajectory_id: trajectory}).values()])
    return path / page_name(trajectory)


def diff_command(
    left: str,
    right: str,
    /,
    *,
    html: Path | None = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Compare two attempts at one problem, of one policy or of two, step by step.

    What only one of them has is red at the left and green at the right.

    Examples of use:

        tirgen traj diff t3f9a t81c0

        tirgen traj diff t3f9a@v1 t3f9a@v2 --html diff.html

    Parameters
    ----------
    left
        The id of a trajectory, or a prefix of only this id; with @vN as it is in that version.
    right
        Another one, of the same problem.
    html
        Write a self-contained page to this file instead.
    """
    opened = read_store(store)
    compared = TrajectoryComparison(find_trajectory(opened, left), find_trajectory(opened, right))
    if html is not None:
        from flows.page.compare import comparison_page

        with files.writing(html) as page:
            page.write(comparison_page(compared))
        say(f"wrote {html}")
    elif json:
        print_json(compared.document())
    else:
        show(render_comparison(compared, stdout.width))


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that people choose by, with short names."""
    answer = row["final_answer"]
    return {
        "trajectory": row["trajectory_id"],
        "problem": row["problem_id"],
        "attempt": row["attempt"],
        "correct": row["correct"],
        "kept": row["kept"],
        "ending": row["ending"],
        "calls": row["n_calls"],
        "failed": row["n_failed_calls"],
        "answer": answer and shortened(answer, LONGEST_ANSWER),
    }
