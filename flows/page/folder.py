"""Trajectories as a folder of pages that link to each other, with a list, ``index.html``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from flows.page.report import POLICY
from flows.page.template import page_template, text_of
from flows.page.trajectory import Neighbour, trajectory_page
from storage import files, names
from storage.records import Trajectory

INDEX = "index.html"


def write_pages(folder: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write a page for each trajectory, ``ID.html``, and the list of all.

    Raises OSError, and InvalidName for an id that is no safe name of a file.
    """
    files.make_folder(folder)
    groups: defaultdict[tuple[str, ...], list[Trajectory]] = defaultdict(list)
    for one in trajectories:
        groups[_compared_with(one)].append(one)
    for group in groups.values():
        group.sort(key=lambda one: one.attempt)
        for one in group:
            neighbours = [
                Neighbour(other.attempt, other.reward, page_name(other), current=other is one)
                for other in group
            ]
            page = trajectory_page(one, neighbours)
            files.write_atomic(folder / page_name(one), page.encode())
    listed = [(one, page_name(one)) for group in groups.values() for one in group]
    page = page_template("index.html.jinja").render(
        listed=listed,
        problems=len({one.problem.problem_id for one in trajectories}),
        policy=POLICY,
        css=Markup(text_of("page.css")),
    )
    files.write_atomic(folder / INDEX, page.encode())


def page_name(trajectory: Trajectory) -> str:
    """The file of a trajectory's page."""
    return f"{names.safe(trajectory.trajectory_id, 'page')}.html"


def _compared_with(one: Trajectory) -> tuple[str, ...]:
    """Equal for attempts at one problem, or at one step's prefix, of one run and program."""
    problem = one.problem.problem_id
    run = one.provenance.run_id
    return (one.dataset, run, one.program.value, problem, one.group_id or problem)
