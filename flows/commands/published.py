"""``tirgen dataset`` and ``tirgen policy``: list, show and check what is published."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.commands.options import DEFAULT_STORE, Json, RoundsPlot, StorePath, read_store
from flows.commands.results import show_rounds
from flows.terminal.console import print_json, say
from flows.terminal.failures import WORK_FAILED, require_training
from flows.terminal.tables import minute, show_rows
from storage.checking import Flaw, flaws, flaws_of_policy
from storage.datasets import Store
from storage.places import shown
from storage.policies import Policies, PolicyVersion
from storage.tags import readable_tags
from storage.versions import DatasetVersion


def list_datasets(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """List the latest version of every dataset.

    Example: tirgen dataset list --json
    """
    opened = read_store(store)
    found = opened.datasets()
    if json:
        print_json([_dataset(version) for version in found])
    elif found:
        _show_versions("", found)
    else:
        say(f"nothing is published in {opened}; make a dataset: tirgen demo")


def show_dataset(name: str, /, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
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
    say(f"files: {shown(version.path)}")


def check_dataset(
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
    _report(name or str(opened), found, as_json=json)


def list_policies(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """List every policy version, with its parent and the dataset version it learned from.

    Example: tirgen policy list --json
    """
    rows = [_policy(version) for version in Policies(read_store(store).root).all()]
    if json:
        print_json(rows)
    elif rows:
        show_rows(rows, expendable=("created", "made by"))
    else:
        say(f"no policy is published in {store}; make one: tirgen policy sft DATASET")


def show_policy(
    name: str,
    /,
    *,
    plot: RoundsPlot = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Show one policy version and the rounds of RL that led to it.

    Example: tirgen policy show improved --plot rounds.svg

    Parameters
    ----------
    name
        The policy, or one version of it as NAME@vN.
    """
    require_training("the history of a policy")
    from flows.training.figures import all_rounds

    opened = read_store(store)
    version = Policies(opened.root).version(name)
    rounds = all_rounds(opened, version)
    if rounds:
        draw_rounds(plot, opened, version)
    if json:
        print_json({**version.manifest, "path": shown(version.path), "rounds": rounds})
        return
    show_rows([_policy(version)])
    if rounds:
        show_rounds(rounds)
    say(f"files: {shown(version.path)}")


def draw_rounds(path: Path | None, store: Store, policy: PolicyVersion) -> None:
    """Draw the figures of the rounds of RL that led to a policy, if a file was asked for."""
    if path:
        from flows.training.figures import rounds_plot

        if plot := rounds_plot(store, policy):
            plot.save(path)
        else:
            say(f"one round of one optimiser step is no curve: {path} is not written")


def check_policy(name: str, /, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Compare the files of a version and of its trainings with what was written.

    Exit 1 when one differs.

    Example: tirgen policy check improved@v1

    Parameters
    ----------
    name
        The policy, or one version of it as NAME@vN.
    """
    policies = Policies(read_store(store).root)
    found = [*flaws_of_policy(policies, name)]
    _report(str(policies.published_version(name)), found, as_json=json)


def _report(what: str, found: Sequence[Flaw], *, as_json: bool) -> None:
    """Say which files are not what was written; exit 1 if there is one."""
    if as_json:
        damaged = [{"path": shown(flaw.path), "why": flaw.why} for flaw in found]
        print_json({"checked": what, "damaged": damaged})
    elif found:
        for flaw in found:
            say(f"{shown(flaw.path)} {flaw.why}")
        say("next: restore them from a backup, or make the version again under another name")
    else:
        say(f"{what}: every file is what was written")
    if found:
        sys.exit(WORK_FAILED)


def _show_versions(title: str, versions: Sequence[DatasetVersion]) -> None:
    """Versions by the names that other commands take."""
    rows = [
        {
            "version": str(version),
            "rows": summary["rows"],
            "baselines": summary["baselines"],
            "kept": summary["kept"],
            "problems": summary["problems"],
            "made from": summary["made_from"],
            "tags": ", ".join(_tags(version)),
            "created": minute(str(summary["created"])),
            "config": summary["config"],
        }
        for version in versions
        for summary in [_dataset(version)]
    ]
    show_rows(rows, title, ("config", "created", "tags", "baselines", "problems", "made from"))


def _dataset(version: DatasetVersion) -> dict[str, object]:
    manifest = version.manifest
    return {
        "dataset": version.dataset,
        "version": version.version,
        "rows": version.samples,
        "baselines": version.baselines,
        "kept": manifest["kept_rows"],
        "problems": manifest["summary"].get("problems"),
        "made_from": manifest.get("made_from"),
        "tags": _tags(version),
        "created": manifest["created_at"],
        "config": manifest["config_hash"],
    }


def _tags(version: DatasetVersion) -> list[str]:
    named = readable_tags(version.path.parents[1])
    return [tag for tag, number in named.items() if number == version.version]


def _policy(version: PolicyVersion) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "policy": str(version),
        "made by": manifest["kind"],
        "parent": manifest["parent"],
        "learned from": manifest["dataset"],
        "created": manifest["created_at"],
    }
