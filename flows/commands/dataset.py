"""``tirgen dataset``: what is published."""

from __future__ import annotations

from cyclopts import App

from flows.commands.common import DEFAULT_STORE, StorePath, open_store
from flows.console import Json, print_json, say, show, table
from storage.versions import DatasetVersion

app = App(name="dataset", help="Published dataset versions.")


@app.command(name="list")
def list_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """List the latest version of every dataset.

    Example: tirgen dataset list --json

    Parameters
    ----------
    store
        Folder of the store.
    json
        Print one JSON array on stdout.
    """
    rows = [_summary(version) for version in open_store(store).datasets()]
    if json:
        print_json(rows)
    elif rows:
        show(table("", rows))
    else:
        say(f"nothing is published in {store}; make a dataset: tirgen demo")


@app.command(name="show")
def show_command(name: str, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Show one dataset: its versions, and the manifest and yield of the one named.

    Example: tirgen dataset show demo@v1

    Parameters
    ----------
    name
        The dataset, or one version of it as NAME@vN.
    store
        Folder of the store.
    json
        Print the manifest as one JSON document on stdout.
    """
    opened = open_store(store)
    version = opened.version(name)
    if json:
        print_json(version.manifest)
        return
    show(table("versions", [_summary(v) for v in opened.versions(version.dataset)]))
    show(table(f"yield of {version}", version.manifest["summary"].get("yield", [])))
    say(f"files: {version.path}")


def _summary(version: DatasetVersion) -> dict[str, object]:
    manifest = version.manifest
    return {
        "dataset": version.dataset,
        "version": version.version,
        "rows": manifest["rows"],
        "kept": manifest["kept_rows"],
        "problems": manifest["summary"].get("problems"),
        "created": manifest["created_at"],
        "config": manifest["config_hash"],
    }
