"""``tirgen dataset``: what is published."""

from __future__ import annotations

from collections.abc import Sequence

from flows.commands.checking import report_flaws
from flows.commands.common import DEFAULT_STORE, StorePath, read_store
from flows.console import Json, print_json, say
from flows.tables import minute, show_rows
from storage.checking import flaws
from storage.versions import DatasetVersion


def list_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """List the latest version of every dataset.

    Example: tirgen dataset list --json
    """
    opened = read_store(store)
    found = opened.datasets()
    if json:
        print_json([_summary(version) for version in found])
    elif found:
        _show_versions("", found)
    else:
        say(f"nothing is published in {opened.root}; make a dataset: tirgen demo")


def show_command(name: str, /, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Show one dataset: its versions, and the manifest and yield of the one named.

    Example: tirgen dataset show demo@v1

    Parameters
    ----------
    name
        The dataset, or one version of it as NAME@vN.
    """
    opened = read_store(store)
    version = opened.version(name)
    if json:
        print_json(version.manifest)
        return
    _show_versions("versions", opened.versions(version.dataset))
    if found := version.manifest["summary"].get("yield"):
        show_rows(found, f"yield of {version}")
    say(f"files: {version.path}")


def check_command(
    name: str = "", /, *, store: StorePath = DEFAULT_STORE, json: Json = False
) -> None:
    """Compare every file with what was written: manifests, rows, runs and their logs.

    Exit code 1 when one differs.

    Example: tirgen dataset check demo

    Parameters
    ----------
    name
        The dataset with its versions and runs, or one version of it as NAME@vN. By default every
        dataset of the store.
    """
    opened = read_store(store)
    names = [name] if name else opened.names()
    found = [flaw for one in names for flaw in flaws(opened, one)]
    report_flaws(name or str(opened.root), found, as_json=json)


def _show_versions(title: str, versions: Sequence[DatasetVersion]) -> None:
    """Named as other commands take them; the narrower the terminal, the fewer columns."""
    rows = [
        {
            "version": str(version),
            "rows": summary["rows"],
            "baselines": summary["baselines"],
            "kept": summary["kept"],
            "problems": summary["problems"],
            "made from": summary["made_from"],
            "created": minute(str(summary["created"])),
            "config": summary["config"],
        }
        for version in versions
        for summary in [_summary(version)]
    ]
    show_rows(rows, title, ("config", "created", "baselines", "problems", "made from"))


def _summary(version: DatasetVersion) -> dict[str, object]:
    manifest = version.manifest
    return {
        "dataset": version.dataset,
        "version": version.version,
        "rows": version.samples,
        "baselines": version.baselines,
        "kept": manifest["kept_rows"],
        "problems": manifest["summary"].get("problems"),
        "made_from": manifest.get("made_from"),
        "created": manifest["created_at"],
        "config": manifest["config_hash"],
    }
