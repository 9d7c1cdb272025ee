"""``tirgen view``: trajectories in Inspect's viewer, on this machine or as a folder to share."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators
from rich.text import Text

from flows.commands.options import DEFAULT_STORE, Flag, Json, Port, StorePath, open_store
from flows.service.ports import HOST, free_port
from flows.service.viewer import serving_logs
from flows.terminal.console import print_json, say, show
from flows.terminal.failures import require_viewer
from storage.errors import NotFound
from storage.find import Pick, accuracies, pick_trajectories
from tirgen.sockets.login_link import link
from tirgen.sockets.secret import new_secret

MOST = 2000
"""Trajectories in one view: writing the logs takes about ten milliseconds each."""
PAGES = "trajectories"
"""Folder of a bundle with the pages of its trajectories."""
LINK_SECONDS = 30 * 86_400.0
"""How long the link works, unless the viewer ends first."""


_PICKED = {
    Pick.EXTREMES: "worst and best of each problem",
    Pick.BEST: "best of each problem",
    Pick.WORST: "worst of each problem",
    Pick.ALL: "all that were asked for",
}
"""What the page says about the rows that it shows."""


def view_command(
    dataset: str | None = None,
    *,
    where: str = "",
    pick: Pick | None = None,
    limit: Annotated[
        int, Parameter(name=["--limit", "-n"], validator=validators.Number(gte=1, lte=MOST))
    ] = 500,
    baselines: Flag = False,
    port: Port = 0,
    open_browser: Annotated[bool, Parameter(name="--open", negative="")] = False,
    bundle: Annotated[
        Path | None, Parameter(validator=validators.Path(file_okay=False, dir_okay=False))
    ] = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Read trajectories in a browser: thought, code and output, sorted and searched by score.

    Without a condition, shows the best and the worst attempt at each problem. Serves on loopback
    until interrupted, to whoever has the printed link; contacts no other host, and changes nothing
    in the store. The accuracy in a header is that of all rows of the version, also of those that
    are not shown.

    Examples of use:

        tirgen view demo

        tirgen view demo@v1 --where "n_failed_calls > 0 and correct" --limit 100

        tirgen view demo --pick worst --bundle site

    Parameters
    ----------
    dataset
        Only of this dataset (latest version) or version (NAME@vN).
    where
        Show those that meet this SQL condition over the columns of the view `trajectories`.
    pick
        Which attempts at each problem: the worst and the best (extremes), one of them, or all; by
        default extremes, and all with a condition.
    limit
        Number of trajectories, at most; those that went wrong come first.
    baselines
        Show the chain-of-thought samples, which measure the difficulty of problems, instead.
    port
        Port of the viewer; 0 takes a free one.
    open_browser
        Open the page in the browser as well.
    bundle
        Write a new folder of static pages instead, which any web server can show.
    """
    require_viewer()
    from flows.page.folder import INDEX, write_pages
    from storage.exports.inspect_log import write_logs

    opened = open_store(store)
    picked = pick or (Pick.ALL if where else Pick.EXTREMES)
    found = pick_trajectories(opened, dataset, where, limit, pick=picked, baselines=baselines)
    if not found:
        raise NotFound("no trajectory meets the condition", "see what there is: tirgen traj list")
    with tempfile.TemporaryDirectory(prefix="tirgen-view-") as folder:
        logs = Path(folder, (dataset or "trajectories").replace("@", "-"))  # shown on the page
        logs.mkdir()
        say(f"writing {len(found)} trajectories for the viewer")
        counts: dict[str, object] = {
            "trajectories": len(found),
            "logs": len(write_logs(logs, found, accuracies(opened), _PICKED[picked])),
        }
        if bundle is not None:
            _bundle(logs, bundle)
            write_pages(bundle / PAGES, [each.trajectory for each in found])
            _print(counts | {"bundle": str(bundle)}, str(bundle), json)
            say(f"look at it: python -m http.server --directory {bundle}")
            say(f"each trajectory as a page, also without a server: {bundle / PAGES / INDEX}")
            return
        _serve(logs, counts, port or free_port(), open_browser=open_browser, json=json)


def _serve(
    logs: Path, counts: dict[str, object], port: int, *, open_browser: bool, json: bool
) -> None:
    """Serve the logs until interrupted."""
    url, secret = f"http://{HOST}:{port}", new_secret()
    address = link(url, secret, LINK_SECONDS)
    with serving_logs(logs, port, secret) as viewer:
        _print(counts | {"url": url, "link": address}, address, json)
        say("ctrl-C ends the viewer")
        if open_browser:
            webbrowser.open(address)
        viewer.wait()


def _print(document: dict[str, object], line: str, json: bool) -> None:
    if json:
        print_json(document)
        sys.stdout.flush()
    else:
        show(Text(line))


def _bundle(logs: Path, site: Path) -> None:
    from inspect_ai.log import bundle_log_dir

    with contextlib.redirect_stdout(sys.stderr):  # it prints messages
        bundle_log_dir(log_dir=str(logs), output_dir=str(site))
