"""``tirgen policy``: policies trained from dataset versions, and what became of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from flows.commands.checking import report_files
from flows.commands.common import DEFAULT_STORE, StorePath, open_store
from flows.commands.generate import parse_settings
from flows.commands.training import require_training, show_results
from flows.console import Json, print_json, say
from flows.progress import rollout_display, steps_display
from flows.tables import show_rows
from storage.policies import Policies, PolicyVersion
from tirgen.settings import load_settings

app = App(
    name="policy",
    version_flags=(),
    help="Policies: trained from dataset versions, named, with their lineage.",
)


@app.command(name="list")
def list_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """List every policy version, with its parent and the dataset version it learned from.

    Example: tirgen policy list --json

    Parameters
    ----------
    store
        Folder of the store.
    json
        Print one JSON array on stdout.
    """
    rows = [_summary(version) for version in Policies(open_store(store).root).all()]
    if json:
        print_json(rows)
    elif rows:
        show_rows(rows, expendable=("created", "made by"))
    else:
        say(f"no policy is published in {store}; make one: tirgen policy sft DATASET")


@app.command(name="show")
def show_command(
    name: str, *, plot: Path | None = None, store: StorePath = DEFAULT_STORE, json: Json = False
) -> None:
    """Show one policy version and the rounds of RL that led to it.

    Example: tirgen policy show improved --plot rounds.svg

    Parameters
    ----------
    name
        The policy, or one version of it as NAME@vN.
    plot
        Draw reward, pass rate, length, entropy, KL estimate and clip fraction per round as SVG.
    store
        Folder of the store.
    json
        Print one JSON document on stdout.
    """
    require_training("the history of a policy")
    from flows.plots import lines_plot
    from flows.training.figures import all_rounds, rounds_panels

    opened = open_store(store)
    version = Policies(opened.root).version(name)
    rounds = all_rounds(opened, version)
    if plot and rounds:
        lines_plot(plot, "round", rounds_panels(rounds))
    if json:
        print_json({**version.manifest, "path": str(version.path), "rounds": rounds})
        return
    show_rows([_summary(version)])
    if rounds:
        show_rows(rounds, "rounds")
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


@app.command(name="check")
def check_command(name: str, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Hash every file of a version and compare with what was published; exit 1 when one differs.

    Example: tirgen policy check improved@v1

    Parameters
    ----------
    name
        The policy, or one version of it as NAME@vN.
    store
        Folder of the store.
    json
        Print one JSON document on stdout.
    """
    report_files(Policies(open_store(store).root).version(name), as_json=json)


@app.command(name="sft")
def sft_command(
    dataset: str,
    *,
    policy: str = "policy",
    parent: str = "",
    config: Path | None = None,
    heldout: str | None = None,
    heldout_limit: int = 200,
    snapshot_every: int | None = None,
    pass_at: Annotated[list[int] | None, Parameter(negative="")] = None,
    plot: Path | None = None,
    processes: int = 1,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Fine-tune a policy on the kept rows of a dataset version, and publish it.

    Running the same command again goes on from the last checkpoint; a finished one is reused.

    Examples:

        tirgen policy sft demo --policy pupil

        tirgen policy sft tir@v3 --parent ./Qwen2.5-Math-7B --processes 8 --set epochs=2

        tirgen policy sft demo --heldout pocket:test --snapshot-every 20 --plot curve.svg

    Parameters
    ----------
    dataset
        The dataset, or one version of it as NAME@vN.
    policy
        The name under which the result becomes the next version.
    parent
        A policy as NAME or NAME@vN, a model's folder, or by default the packaged model.
    config
        TOML or JSON file with settings of the training; flags win over it.
    heldout
        Problems that are answered along the way, for curves: a problem file, or pocket:test.
    heldout_limit
        Only the first so many of them.
    snapshot_every
        Steps between two points of those curves.
    pass_at
        k of the pass@k curves; may be repeated.
    plot
        Draw loss and curves as SVG.
    processes
        Training processes on this machine, one for each GPU.
    set_
        Any other setting by its dotted name, e.g. optimizer.learning_rate=1e-5; may be repeated.
    store
        Folder of the store.
    json
        Print one JSON document on stdout.
    """
    require_training("fine-tuning")
    from flows.plots import lines_plot
    from flows.training.figures import curve_panels
    from flows.training.fine_tune import fine_tune
    from flows.training.names import find_model, training_names
    from flows.training.recipe import settings_for
    from tirgen.evaluation.config import EvaluationConfig
    from trainer.sft import SftConfig

    opened = open_store(store)
    model = find_model(opened, parent)
    overrides = {"snapshot_every": snapshot_every, **parse_settings(set_ or [])}
    resolved = load_settings(SftConfig, config, overrides, settings_for(model.folder, "sft"))
    along = None
    if heldout:
        ks = sorted({1, *(pass_at or [])})
        benchmark = {"path": heldout, "limit": heldout_limit}
        settings = {
            "dataset": f"{policy}-heldout",
            "benchmarks": [benchmark],
            "samples": max(4, *ks),
            "analysis.pass_at": ks,
        }
        along = load_settings(EvaluationConfig, None, settings)
    names = training_names(opened, policy, model, dataset)
    say(f"training {policy} on {names.dataset}, beginning with {names.parent}")
    with steps_display("sft") as display:
        made = asyncio.run(
            fine_tune(names, resolved, processes=processes, heldout=along, watch=display.update)
        )
    if plot:
        lines_plot(plot, "step", curve_panels(opened, made))
    if json:
        print_json(
            {
                **made.policy.manifest,
                "path": str(made.policy.path),
                "curve": [
                    {"step": p.step, "results": [r.model_dump(mode="json") for r in p.results]}
                    for p in made.curve
                ],
            }
        )
        return
    if made.curve:
        lines = [(f"step {point.step}", result) for point in made.curve for result in point.results]
        show_results("held-out problems", lines)
    _say_published(made.policy)


@app.command(name="rl")
def rl_command(
    parent: str,
    *,
    policy: str | None = None,
    rounds: int | None = None,
    problems: str | None = None,
    config: Path | None = None,
    plot: Path | None = None,
    processes: int = 1,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Take a policy through rounds of hierarchical RL; each publishes its next version.

    A round is rollouts into the store, an update from the store, and a published policy. Running
    the same command again goes on where it was, inside a round too.

    Examples:

        tirgen policy rl pupil --rounds 4

        tirgen policy rl thor@v1 --config rl.toml --processes 8 --set rollouts.groups=512

    Parameters
    ----------
    parent
        A policy as NAME or NAME@vN, or a model's folder.
    policy
        The name under which the results become the next versions; by default the parent's.
    rounds
        So many rounds.
    problems
        Problem file, or pocket:train.
    config
        TOML or JSON file with `rounds`, `rollouts` and `update`; flags win over it.
    plot
        Draw reward, pass rate, length, entropy, KL estimate and clip fraction per round as SVG.
    processes
        Training processes on this machine, one for each GPU.
    set_
        Any other setting by its dotted name, e.g. update.loss.nll=0; may be repeated.
    store
        Folder of the store.
    json
        Print one JSON document on stdout.
    """
    require_training("RL")
    from flows.plots import lines_plot
    from flows.training.figures import all_rounds, rounds_panels
    from flows.training.names import find_model
    from flows.training.recipe import settings_for
    from flows.training.rounds import Hooks, RoundsConfig, reinforce

    opened = open_store(store)
    model = find_model(opened, parent)
    name = policy or (model.label or "policy").partition("@")[0]
    overrides = {
        "rounds": rounds,
        "rollouts.problems.path": problems,
        **parse_settings(set_ or []),
    }
    base = {"rollouts": {"dataset": f"{name}-rollouts"}} | settings_for(model.folder, "rl")
    base["rollouts"] = {"dataset": f"{name}-rollouts"} | base["rollouts"]
    resolved = load_settings(RoundsConfig, config, overrides, base)
    say(f"{resolved.rounds} rounds of RL after {model.reference}")
    with rollout_display("rollouts") as rolling, steps_display("update") as updating:
        hooks = Hooks(
            rollouts=lambda _, progress: rolling.update(progress),
            steps=lambda _, steps: updating.update(steps),
            done=lambda made: say(f"round {made.number}: {made.policy} from {made.rollouts}"),
        )
        made = asyncio.run(
            reinforce(opened, name, model, resolved, processes=processes, hooks=hooks)
        )
    figures = all_rounds(opened, made[-1].policy)
    if plot:
        lines_plot(plot, "round", rounds_panels(figures))
    if json:
        print_json({"policy": str(made[-1].policy), "rounds": figures})
        return
    show_rows(figures, "rounds")
    _say_published(made[-1].policy)


def _say_published(policy: PolicyVersion) -> None:
    say(f"published {policy} in {policy.path}; evaluate it: tirgen eval {policy}")
