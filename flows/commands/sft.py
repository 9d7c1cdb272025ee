"""``tirgen policy sft``: fine-tune a policy on a dataset version."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.commands.common import DEFAULT_STORE, AtLeastOne, SetOption, StorePath, open_store
from flows.commands.generate import parse_settings
from flows.commands.results import show_published, show_results
from flows.console import Json, print_json, say
from flows.extras import require_training
from flows.progress import steps_display
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.settings import load_settings

if TYPE_CHECKING:  # torch, which the core install leaves out
    from flows.training.fine_tune import FineTuned


def sft_command(
    dataset: str,
    /,
    *,
    policy: str = "policy",
    parent: str = "",
    config: Path | None = None,
    heldout: str | None = None,
    heldout_limit: AtLeastOne = 200,
    snapshot_every: int | None = None,
    pass_at: Annotated[list[int] | None, Parameter(negative="")] = None,
    plot: Path | None = None,
    processes: AtLeastOne = 1,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Fine-tune a policy on the kept rows of a dataset version, and publish it.

    Running the same command again goes on from the last checkpoint; a finished one is reused.

    Examples of use:

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
    """
    require_training("fine-tuning")
    from flows.plots import lines_plot
    from flows.training.figures import curve_panels
    from flows.training.fine_tune import fine_tune
    from flows.training.names import find_model, training_names
    from flows.training.recipe import sft_settings

    opened = open_store(store)
    model = find_model(opened, parent)
    overrides = {"snapshot_every": snapshot_every, **parse_settings(set_ or [])}
    resolved = sft_settings(model.folder, config, overrides)
    along = _heldout(policy, heldout, heldout_limit, pass_at or []) if heldout else None
    names = training_names(opened, policy, model, dataset)
    say(f"training {policy} on {names.dataset}, beginning with {names.parent}")
    with steps_display("sft") as display:
        made = asyncio.run(
            fine_tune(
                names,
                resolved,
                processes=processes,
                heldout=along,
                watch=display.update,
                note=say,
            )
        )
    if plot:
        lines_plot(plot, "step", curve_panels(opened, made))
    if json:
        print_json(_document(made))
    else:
        _show(made)


def _heldout(policy: str, problems: str, limit: int, pass_at: list[int]) -> EvaluationConfig:
    """The evaluation along the way; pass@1 is always among its curves."""
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
        "path": str(made.policy.path),
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
