"""``tirgen report``: a dataset version or a policy as a page of charts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.commands.options import DEFAULT_STORE, StorePath, read_store
from flows.terminal.console import say
from storage import files
from storage.datasets import Store
from storage.errors import NotFound
from storage.policies import Policies


def report_command(
    name: str = "",
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    store: StorePath = DEFAULT_STORE,
) -> None:
    """Write a page of charts about a dataset version or a policy, with the SQL behind each.

    The page needs no network and runs no script.

    Examples of use:

        tirgen report demo -o demo.html

        tirgen report pupil@v3 -o pupil.html

    Parameters
    ----------
    name
        A dataset or a policy, or one version of it as NAME@vN; by default the dataset version that
        was published last.
    output
        The file to write; by default the name with .html.
    """
    opened = read_store(store)
    title, page = _page(opened, name)
    target = output or Path(f"{title}.html")
    with files.writing(target) as written:
        written.write(page)
    say(f"wrote {target}")


def _page(store: Store, name: str) -> tuple[str, str]:
    """What the report is about, and the report."""
    from flows.page.report import dataset_report, policy_report

    if not name:
        published = store.datasets()
        if not published:
            raise NotFound(f"nothing is published in {store.root}", "make a dataset: tirgen demo")
        newest = max(published, key=lambda version: version.manifest["created_at"])
        return str(newest), dataset_report(store, newest)
    policies = Policies(store.root)
    if policies.versions(name.partition("@")[0]):
        policy = policies.version(name)
        return str(policy), policy_report(store, policy)
    version = store.version(name)
    return str(version), dataset_report(store, version)
