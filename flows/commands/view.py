"""``tirgen view``: trajectories in Inspect's viewer, on this machine or as a folder to share."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators
from rich.text import Text

from flows.commands.common import DEFAULT_STORE, StorePath, open_store
from flows.console import Json, print_json, say, show
from flows.extras import require_viewer
from flows.service.errors import ServiceFailed
from storage.errors import NotFound
from storage.find import accuracies, pick_trajectories
from tirgen.process import Child, ChildLost
from tirgen.sockets.login_link import link
from tirgen.sockets.secret import new_secret

MOST = 2000
"""Trajectories in one view: building the logs takes some ten milliseconds each."""
HOST = "127.0.0.1"
START_SECONDS = 300.0
"""How long the viewer may take to answer, on a busy machine."""
LINK_SECONDS = 30 * 86_400.0
"""How long the link works, unless the viewer ends first."""


def view_command(
    dataset: str | None = None,
    *,
    where: str = "",
    limit: Annotated[
        int, Parameter(name=["--limit", "-n"], validator=validators.Number(gte=1, lte=MOST))
    ] = 500,
    baselines: Annotated[bool, Parameter(negative="")] = False,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 0,
    open_browser: Annotated[bool, Parameter(name="--open", negative="")] = False,
    bundle: Annotated[
        Path | None, Parameter(validator=validators.Path(file_okay=False, dir_okay=False))
    ] = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Read trajectories in a browser: thought, code and output, sorted and searched by score.

    Without a condition, the best and the worst attempt at each problem. Serves on loopback until
    interrupted, to whoever has the link that is printed, asks nothing of any other host, and
    changes nothing in the store.

    Examples of use:

        tirgen view demo

        tirgen view demo@v1 --where "n_failed_calls > 0 and correct" --limit 100

        tirgen view demo --bundle site

    Parameters
    ----------
    dataset
        Only of this dataset (latest version) or version (NAME@vN).
    where
        A SQL condition over the columns of the view `trajectories`: all that meet it.
    limit
        How many at most, those that went wrong first.
    baselines
        The chain-of-thought samples that measure the problems instead.
    port
        Port of the viewer; 0 takes a free one.
    open_browser
        Open the page in the browser as well.
    bundle
        Write a new folder of static pages there instead, which any web server can show.
    """
    require_viewer()
    from storage.exports.inspect_log import write_logs

    opened = open_store(store)
    found = pick_trajectories(
        opened, dataset, where, limit, extremes=not where, baselines=baselines
    )
    if not found:
        raise NotFound("no trajectory meets the condition", "see what there is: tirgen traj list")
    with tempfile.TemporaryDirectory(prefix="tirgen-view-") as folder:
        logs = Path(folder, "logs")
        logs.mkdir()
        say(f"writing {len(found)} trajectories for the viewer")
        told = {
            "trajectories": len(found),
            "logs": len(write_logs(logs, found, accuracies(opened))),
        }
        if bundle is not None:
            _bundle(logs, bundle)
            _tell(told | {"bundle": str(bundle)}, str(bundle), json)
            say(f"look at it: python -m http.server --directory {bundle}")
            return
        port = port or _free_port()
        url = f"http://{HOST}:{port}"
        secret = new_secret()
        address = link(url, secret, LINK_SECONDS)
        with _until_interrupted(_serve(Path(folder), logs, port, secret)) as viewer:
            _tell(told | {"url": url, "link": address}, address, json)
            say("ctrl-C ends the viewer")
            if open_browser:
                webbrowser.open(address)
            viewer.wait()


@contextlib.contextmanager
def _until_interrupted(viewer: Child) -> Iterator[Child]:
    """End the viewer after the block; an interrupt is how users end it, so it is no error."""
    try:
        yield viewer
    except KeyboardInterrupt:
        return
    finally:
        viewer.end()


def _tell(document: dict[str, object], line: str, json: bool) -> None:
    if json:
        print_json(document)
        sys.stdout.flush()
    else:
        show(Text(line))


def _bundle(logs: Path, site: Path) -> None:
    from inspect_ai.log import bundle_log_dir

    with contextlib.redirect_stdout(sys.stderr):  # it narrates
        bundle_log_dir(log_dir=str(logs), output_dir=str(site))


def _serve(folder: Path, logs: Path, port: int, secret: str) -> Child:
    """The viewer's process, once it answers. It ends with this one, however that ends.

    Raises:
        ServiceFailed: the port is taken, or the viewer ended instead.
    """
    if _answers(port):
        raise ServiceFailed(f"port {port} is taken", "choose another, or none for a free one")
    options = ("--log-dir", logs.name, "--host", HOST, "--port", str(port))
    viewer = Child(
        [sys.executable, "-m", "flows.viewer", "view", "start", *options],
        cwd=folder,  # the user's folder may hold a .env file
        env={**os.environ, "XDG_DATA_HOME": str(folder)},  # it ends other viewers noted there
    )
    try:
        viewer.write(f"{secret}\n".encode())
        viewer.wait_ready(lambda: _answers(port), START_SECONDS)
        _check_closed_to_strangers(port)
    except ChildLost as error:
        viewer.end()
        raise ServiceFailed(
            f"the viewer did not start on port {port}: it {error}",
            "tirgen traj show ID --html page.html needs no viewer",
        ) from error
    except BaseException:
        viewer.end()
        raise
    return viewer


def _check_closed_to_strangers(port: int) -> None:
    if _status(port) != HTTPStatus.UNAUTHORIZED:
        raise ServiceFailed(
            "the viewer of this version of inspect_ai would be open to everybody on this machine",
            "pip install 'tirgen[view]' installs one that is not",
        )


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _status(port: int) -> int:
    """The viewer's answer to a client without the secret."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().status


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])
