"""``tirgen policy sft`` and ``tirgen policy rl``: fine-tuning, and rounds of hierarchical RL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands.options import (
    ANYWHERE,
    DEFAULT_STORE,
    ONE_MACHINE,
    AtLeastOne,
    Cluster,
    ConfigFile,
    Counts,
    Json,
    Planning,
    RoundsPlot,
    SetOption,
    StorePath,
    Trainers,
    open_store,
    parse_settings,
)
from flows.commands.published import draw_rounds
from flows.commands.results import show_plan, show_published, show_results, show_rounds
from flows.terminal.console import print_json, say
from flows.terminal.failures import require_training
from flows.terminal.progress import job_display
from flows.training.machines import Machines
from storage.places import shown
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.settings import load_settings

PLANNING = Planning()

if TYPE_CHECKING:  # needs torch
    from flows.training.fine_tune import FineTuned
    from flows.training.rounds import Round


def sft_command(
    dataset: str,
    /,
    *,
    policy: str = "policy",
    parent: str = "",
    config: ConfigFile = None,
    heldout: str | None = None,
    heldout_limit: AtLeastOne = 200,
    snapshot_every: int | None = None,
    pass_at: Counts = None,
    plot: Path | None = None,
    trainers: Trainers = ONE_MACHINE,
    planning: Planning = PLANNING,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Fine-tune a policy on the kept rows of a dataset version, and publish it.

    Running the same command again continues from the last checkpoint; a finished one is reused.

    Examples of use:

        tirgen policy sft demo --policy pupil

        tirgen policy sft tir@v3 --parent ./Qwen2.5-Math-7B --processes 8 --set epochs=2

        tirgen policy sft demo --heldout pocket:test --snapshot-every 20 --plot curve.svg

        tirgen policy sft tir@v3 --parent ./Qwen3-8B --processes 8 --machines 2
        --meet gpu-1:29400

        tirgen policy sft tir@v3 --parent ./Qwen3-8B --processes 8 --estimate

    Parameters
    ----------
    dataset
        The dataset, or one version of it as NAME@vN.
    policy
        The name under which the result becomes the next version.
    parent
        A policy as NAME or NAME@vN, a model's folder, or by default the packaged model.
    heldout
        Problems that are answered during the training, for curves: a problem file, or pocket:test.
    heldout_limit
        Only this many of them, the first ones.
    snapshot_every
        Steps between two points of those curves.
    pass_at
        k of the pass@k curves; may be repeated.
    plot
        Draw loss and curves into this SVG file.
    """
    from flows.training.models import find_model, training_names
    from flows.training.settings import sft_settings

    opened = open_store(store)
    model = find_model(opened, parent)
    overrides = {"snapshot_every": snapshot_every, **parse_settings(set_)}
    resolved = sft_settings(model.folder, config, overrides)
    if planning.estimate:
        from flows.training.estimate import estimate_sft

        hardware = planning.hardware(trainers.world)
        plan = estimate_sft(model.folder, opened.version(dataset), resolved, hardware)
        return print_json(plan.document()) if json else show_plan(plan, "fine-tuning")
    require_training("fine-tuning")
    machines = Machines.of(opened, policy, trainers.machines, trainers.meet)
    if machines and not machines.leads:
        return _follow(machines, trainers, as_json=json)
    from flows.training.fine_tune import fine_tune
    from flows.training.jobs import Hooks, steps_display

    problems = _heldout(policy, heldout, heldout_limit, pass_at or []) if heldout else None
    names = training_names(opened, policy, model, dataset)
    say(f"training {policy} on {names.dataset}, beginning with {names.parent}")
    with steps_display("sft") as display:
        hooks = Hooks(steps=display.update, note=say)
        made = asyncio.run(
            fine_tune(
                names,
                resolved,
                processes=trainers.processes,
                heldout=problems,
                hooks=hooks,
                machines=machines,
            )
        )
    if plot:
        from flows.terminal.plots import lines_plot
        from flows.training.figures import curve_panels

        lines_plot("step", curve_panels(opened, made)).save(plot)
    if json:
        print_json(_document(made))
    else:
        _show(made)


def rl_command(
    parent: str,
    /,
    *,
    policy: str | None = None,
    rounds: int | None = None,
    problems: str | None = None,
    config: ConfigFile = None,
    plot: RoundsPlot = None,
    trainers: Trainers = ONE_MACHINE,
    cluster: Cluster = ANYWHERE,
    planning: Planning = PLANNING,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Take a policy through rounds of hierarchical RL; each publishes its next version.

    A round is rollouts into the store, an update from the store, and a published policy. Running
    the same command again continues, also inside a round.

    Examples of use:

        tirgen policy rl pupil --rounds 4

        tirgen policy rl thor@v1 --config rl.toml --processes 8 --set rollouts.groups=512

        tirgen policy rl thor@v1 --config rl.toml --on ray://head:10001

        tirgen policy rl ./Qwen3-8B --processes 8 --estimate --throughput 9000

    Parameters
    ----------
    parent
        A policy as NAME or NAME@vN, or a model's folder.
    policy
        The name under which the results become the next versions; by default the parent's.
    rounds
        Number of rounds.
    problems
        Problem file, or pocket:train.
    """
    from flows.training.models import find_model
    from flows.training.settings import rounds_settings

    opened = open_store(store)
    model = find_model(opened, parent)
    name = policy or (model.label or "policy").partition("@")[0]
    overrides = {
        "rounds": rounds,
        "rollouts.problems.path": problems,
        **parse_settings(set_),
    }
    resolved = rounds_settings(model.folder, name, config, overrides)
    if planning.estimate:
        from flows.training.estimate import estimate_round

        plan = estimate_round(model.folder, opened, resolved, planning.hardware(trainers.world))
        return print_json(plan.document()) if json else show_plan(plan, "a round of RL")
    require_training("RL")
    machines = Machines.of(opened, name, trainers.machines, trainers.meet)
    if machines and not machines.leads:
        return _follow(machines, trainers, as_json=json)
    from flows.training.figures import all_rounds
    from flows.training.jobs import Hooks, steps_display
    from flows.training.rounds import reinforce

    say(f"{resolved.rounds} rounds of RL after {model.reference}")
    with (
        cluster.place() as place,
        job_display("rollouts") as rolling,
        steps_display("update") as updating,
    ):
        hooks = Hooks(rollouts=rolling.update, steps=updating.update, note=say, round=_say_round)
        made = asyncio.run(
            reinforce(
                opened,
                name,
                model,
                resolved,
                processes=trainers.processes,
                hooks=hooks,
                place=place,
                machines=machines,
            )
        )
    figures = all_rounds(opened, made[-1].policy)
    draw_rounds(plot, opened, made[-1].policy)
    if json:
        print_json({"policy": str(made[-1].policy), "rounds": figures})
    else:
        show_rounds(figures)
        show_published(made[-1].policy)


def _follow(machines: Machines, trainers: Trainers, *, as_json: bool) -> None:
    """Run the trainings that the command on another machine hands out."""
    trainings = asyncio.run(machines.follow(trainers.processes, say))
    say(f"the command on {machines.meeting.host} has ended; trained with it: {trainings}")
    if as_json:
        print_json({"trainings": trainings, "led_by": machines.meeting.host})


def _say_round(made: Round) -> None:
    say(f"round {made.number}: {made.policy} from {made.rollouts}")


def _heldout(policy: str, problems: str, limit: int, pass_at: list[int]) -> EvaluationConfig:
    """The evaluation during the training; pass@1 is always among its curves."""
    ks = sorted({1, *pass_at})
    settings = {
        "dataset": f"{policy}-heldout",
        "benchmarks": [{"path": problems, "limit": limit}],
        "samples": max(4, *ks),
        "analysis.pass_at": ks,
    }
    return load_settings(EvaluationConfig, None, settings)


def _document(made: FineTuned) -> dict[str, Any]:
    return {
        **made.policy.manifest,
        "path": shown(made.policy.path),
        "curve": [
            {"step": p.step, "results": [r.model_dump(mode="json") for r in p.results]}
            for p in made.curve
        ],
    }


def _show(made: FineTuned) -> None:
    if made.curve:
        lines = [(f"step {point.step}", result) for point in made.curve for result in point.results]
        show_results("held-out problems", lines)
    show_published(made.policy)
