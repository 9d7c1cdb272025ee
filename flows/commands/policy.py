"""``tirgen policy``: policies trained from dataset versions, and what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.commands.checking import report_flaws
from flows.commands.common import DEFAULT_STORE, StorePath, read_store
from flows.commands.results import show_rounds
from flows.console import Json, print_json, say
from flows.extras import require_training
from flows.tables import show_rows
from storage.checking import Flaw
from storage.policies import Policies, PolicyVersion


def list_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """List every policy version, with its parent and the dataset version it learned from.

    Example: tirgen policy list --json
    """
    rows = [_summary(version) for version in Policies(read_store(store).root).all()]
    if json:
        print_json(rows)
    elif rows:
        show_rows(rows, expendable=("created", "made by"))
    else:
        say(f"no policy is published in {store}; make one: tirgen policy sft DATASET")


def show_command(
    name: str, /, *, plot: Path | None = None, store: StorePath = DEFAULT_STORE, json: Json = False
) -> None:
    """Show one policy version and the rounds of RL that led to it.

    Example: tirgen policy show improved --plot rounds.svg

    Parameters
    ----------
    name
        The policy, or one version of it as NAME@vN.
    plot
        Draw reward, pass rate, length, entropy, KL estimate and clip fraction per round as SVG.
    """
    require_training("the history of a policy")
    from flows.plots import lines_plot
    from flows.training.figures import all_rounds, rounds_panels

    opened = read_store(store)
    version = Policies(opened.root).version(name)
    rounds = all_rounds(opened, version)
    if plot and rounds:
        lines_plot(plot, "round", rounds_panels(rounds))
    if json:
        print_json({**version.manifest, "path": str(version.path), "rounds": rounds})
        return
    show_rows([_summary(version)])
    if rounds:
        show_rounds(rounds)
    say(f"files: {version.path}")


def _summary(version: PolicyVersion) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "policy": str(version),
        "made by": manifest["kind"],
        "parent": manifest["parent"],
        "learned from": manifest["dataset"],
        "created": manifest["created_at"],
    }


def check_command(name: str, /, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Hash every file of a version and compare with what was published; exit 1 when one differs.

    Example: tirgen policy check improved@v1

    Parameters
    ----------
    name
        The policy, or one version of it as NAME@vN.
    """
    version = Policies(read_store(store).root).published_version(name)
    found = [Flaw(path, "is not what was published") for path in version.damaged_files()]
    report_flaws(str(version), found, as_json=json)
