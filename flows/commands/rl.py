"""``tirgen policy rl``: take a policy through rounds of hierarchical RL."""

from __future__ import annotations

import asyncio
from pathlib import Path

from flows.commands.common import DEFAULT_STORE, AtLeastOne, SetOption, StorePath, open_store
from flows.commands.generate import parse_settings
from flows.commands.results import show_published, show_rounds
from flows.console import Json, print_json, say
from flows.extras import require_training
from flows.progress import rollout_display, steps_display


def rl_command(
    parent: str,
    /,
    *,
    policy: str | None = None,
    rounds: int | None = None,
    problems: str | None = None,
    config: Path | None = None,
    plot: Path | None = None,
    processes: AtLeastOne = 1,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Take a policy through rounds of hierarchical RL; each publishes its next version.

    A round is rollouts into the store, an update from the store, and a published policy. Running
    the same command again goes on where it was, inside a round too.

    Examples of use:

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
    """
    require_training("RL")
    from flows.plots import lines_plot
    from flows.training.figures import all_rounds, rounds_panels
    from flows.training.names import find_model
    from flows.training.recipe import rounds_settings
    from flows.training.rounds import Hooks, reinforce

    opened = open_store(store)
    model = find_model(opened, parent)
    name = policy or (model.label or "policy").partition("@")[0]
    overrides = {
        "rounds": rounds,
        "rollouts.problems.path": problems,
        **parse_settings(set_ or []),
    }
    resolved = rounds_settings(model.folder, name, config, overrides)
    say(f"{resolved.rounds} rounds of RL after {model.reference}")
    with rollout_display("rollouts") as rolling, steps_display("update") as updating:
        hooks = Hooks(
            rollouts=lambda _, progress: rolling.update(progress),
            steps=lambda _, steps: updating.update(steps),
            note=say,
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
    else:
        show_rounds(figures)
        show_published(made[-1].policy)
