"""``tirgen improve``: the whole loop, from problems to a better policy and its evaluation."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands.options import (
    DEFAULT_STORE,
    ConfigFile,
    Flag,
    Json,
    Processes,
    SetOption,
    StorePath,
    open_store,
    parse_settings,
)
from flows.commands.results import percent, show_results
from flows.terminal.console import print_json, say, show_settings
from flows.terminal.failures import require_training
from flows.terminal.progress import generation_display, job_display
from storage import files
from storage.places import mirror_of
from tirgen.settings import load_settings

if TYPE_CHECKING:  # needs torch
    from flows.training.improve import Improvement, Stage
    from flows.training.jobs import Hooks


def improve_command(
    *,
    policy: str | None = None,
    config: ConfigFile = None,
    problems: str | None = None,
    limit: int | None = None,
    rounds: int | None = None,
    out: Path | None = None,
    processes: Processes = 1,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    dry_run: Flag = False,
    json: Json = False,
) -> None:
    """Generate, fine-tune, take through rounds of RL, and evaluate every stage.

    By default on the embedded model. Every part is in the store, so the same command continues
    after any stop, kill -9 included. Writes a table and plots.

    Examples of use:

        tirgen improve

        tirgen improve --policy quick --limit 60 --rounds 1 --set evaluation.samples=4

        tirgen improve --config thor-7b.toml --processes 8 --dry-run

    Parameters
    ----------
    policy
        Name of the policy; the datasets of the loop are named after it.
    config
        TOML or JSON file with `generate`, `sft`, `rl`, `evaluation` and so on. Without it, the
        recipe of the embedded model; with it, the defaults are the paper's.
    problems
        Problems to learn from, or pocket:train.
    limit
        Generate from only this many problems, the first ones.
    rounds
        Rounds of RL.
    out
        Folder for improvement.json, stages.svg and rounds.svg; by default in the store.
    dry_run
        Print the resolved configuration and stop.
    """
    require_training("the loop")
    from flows.training.improve import ImproveConfig, improve
    from flows.training.models import recipe

    overrides: dict[str, Any] = {
        "policy": policy,
        "generate.problems.path": problems,
        "rl.rollouts.problems.path": problems,
        "generate.problems.limit": limit,
        "rl.rounds": rounds,
        **parse_settings(set_),
    }
    resolved = load_settings(ImproveConfig, config, overrides, None if config else recipe())
    if dry_run:
        settings = resolved.named().model_dump(mode="json")
        print_json(settings) if json else show_settings(settings)
        return
    opened = open_store(store)
    here = Path() if mirror_of(opened.root) else opened.root
    folder = out or here / "reports" / resolved.policy
    with ExitStack() as stack:
        hooks = _hooks(stack)
        made = asyncio.run(improve(opened, resolved, processes=processes, hooks=hooks))
    document = _document(made)
    _write(folder, store, made, document)
    if json:
        print_json(document)
        return
    lines = [(stage.name, result) for stage in made.stages for result in stage.results]
    show_results(f"{resolved.policy}: every stage", lines)
    say(f"dataset {made.dataset}, policy {made.rounds[-1].policy}; plots in {folder}")


def _hooks(stack: ExitStack) -> Hooks:
    from flows.training.jobs import Hooks, steps_display

    return Hooks(
        part=lambda name: say(f"-- {name}"),
        generation=stack.enter_context(generation_display("generate")).update,
        steps=stack.enter_context(steps_display("train")).update,
        rollouts=stack.enter_context(job_display("sample")).update,
        stage=_say_stage,
    )


def _say_stage(stage: Stage) -> None:
    for result in stage.results:
        say(f"{stage.name}: {percent(result.accuracy)} % right on {result.benchmark}")


def _document(made: Improvement) -> dict[str, Any]:
    return {
        "dataset": str(made.dataset),
        "fine_tuned": str(made.fine_tuned),
        "policy": str(made.rounds[-1].policy),
        "rounds": [
            {"number": each.number, "rollouts": str(each.rollouts), "policy": str(each.policy)}
            for each in made.rounds
        ],
        "stages": [
            {
                "stage": stage.name,
                "policy": stage.policy,
                "samples": str(stage.samples),
                "results": [result.model_dump(mode="json") for result in stage.results],
            }
            for stage in made.stages
        ],
    }


def _write(folder: Path, store: Path, made: Improvement, document: dict[str, Any]) -> None:
    import json

    from flows.terminal.plots import marks_plot
    from flows.training.figures import rounds_plot, stage_panels

    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomic(folder / "improvement.json", json.dumps(document, indent=2).encode())
    marks_plot(stage_panels(made.stages)).save(folder / "stages.svg")
    if plot := rounds_plot(open_store(store), made.rounds[-1].policy):
        plot.save(folder / "rounds.svg")
