"""``tirgen report``: a dataset version, a run, a policy or a training as a page of charts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.commands.options import DEFAULT_STORE, Flag, StorePath, read_store
from flows.live.work import latest_work
from flows.terminal.console import say
from storage import files
from storage.datasets import Store
from storage.errors import NotFound

if TYPE_CHECKING:  # needs matplotlib
    from flows.page.report import ReportPage


def report_command(
    name: str = "",
    /,
    *,
    latest: Flag = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Write a page of charts about a dataset version, a run or a policy, with the SQL behind each.

    A run or a training may still be at work, or have stopped. The page needs no network and runs no
    script.

    Examples of use:

        tirgen report demo -o demo.html

        tirgen report pupil@v3 -o pupil.html

        tirgen report --latest

    Parameters
    ----------
    name
        A dataset or a policy, or one version of it as NAME@vN; the name of a run or a training, as
        `tirgen watch` lists them; by default the dataset version that was published last.
    latest
        The run or training that was worked on last.
    output
        The file to write; by default the name with .html.
    """
    opened = read_store(store)
    title, page = _page(opened, name, latest=latest)
    target = output or Path(f"{title}.html")
    with files.writing(target) as written:
        written.write(page)
    say(f"wrote {target}")


def _page(store: Store, name: str, *, latest: bool) -> ReportPage:
    """The report that was asked for; without a name, of what was published last."""
    from flows.page.report import ReportPage, report_of, run_report

    if latest:
        work = latest_work(store)
        return ReportPage(work.name, run_report(store, work))
    if not name:
        published = store.datasets()
        if not published:
            raise NotFound(f"nothing is published in {store}", "make a dataset: tirgen demo")
        name = str(max(published, key=lambda version: version.manifest["created_at"]))
    return report_of(store, name)
