"""Figures of trainings and of rounds of RL in a metrics library, where `TIRGEN_METRICS` names one.

Every library writes to this machine unless its own variables name a server. Each training is one
run, which an interrupted training continues; the rounds of a policy are another.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import copy_context
from enum import StrEnum
from importlib.util import find_spec
from typing import Any, Final

from flows.terminal.failures import ExtraMissing

METRICS: Final = "TIRGEN_METRICS"
PROJECT: Final = "tirgen"
"""The project, or MLflow's experiment, of every run."""

Log = Callable[[Mapping[str, Any], int], None]
"""Records figures of one step; nested mappings get names such as ``levels/step/kl``."""


class MetricsLibrary(StrEnum):
    """What `TIRGEN_METRICS` can name."""

    TRACKIO = "trackio"
    MLFLOW = "mlflow"
    WANDB = "wandb"


def metrics_library() -> MetricsLibrary | None:
    """The library that `TIRGEN_METRICS` names; None where it is empty.

    Raises `ExtraMissing` for one that is unknown or not installed.
    """
    named = os.environ.get(METRICS, "")
    if not named:
        return None
    if named not in [*MetricsLibrary]:
        raise ExtraMissing(
            f"{METRICS} names {named!r}, which tirgen does not write to",
            f"set it to one of {', '.join(MetricsLibrary)}, or to nothing",
        )
    if find_spec(named) is None:
        raise ExtraMissing(
            f"{METRICS} names {named}, which is not installed", f"pip install {named}"
        )
    return MetricsLibrary(named)


@contextmanager
def metrics_run(name: str, about: Mapping[str, Any]) -> Iterator[Log]:
    """A run of the library, or one that records nothing where none is named.

    A run of the same name is continued. `about` is stored as its configuration. Raises what
    `metrics_library` raises, and what the library raises.
    """
    library = metrics_library()
    if library is None:
        yield lambda figures, step: None
        return
    with _on_stderr():
        log, close = _OPEN[library](name, dict(about))
    try:
        yield lambda figures, step: log(_flat(figures), step)
    finally:
        with _on_stderr():
            close()


def _flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Only finite numbers, which every library can draw; ``step`` is a name of their own."""
    found: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}/")
        elif name != "step" and isinstance(value, int | float) and math.isfinite(value):
            found[f"{prefix}{name}"] = float(value)
    return found


@contextmanager
def _on_stderr() -> Iterator[None]:
    """Libraries greet on stdout, which is for results."""
    with redirect_stdout(sys.stderr):
        yield


_Open = Callable[[str, dict[str, Any]], tuple[Callable[[dict[str, float], int], Any], Any]]


def _trackio(name: str, about: dict[str, Any]) -> Any:
    import trackio

    own = copy_context()  # else the run would also be the process's, and end once more with it
    run = own.run(trackio.init, PROJECT, name=name, config=about, resume="allow", embed=False)
    return lambda figures, step: run.log(figures, step=step), run.finish


def _wandb(name: str, about: dict[str, Any]) -> Any:
    import wandb

    os.environ.setdefault("WANDB_MODE", "offline")
    run = wandb.init(
        project=PROJECT,
        name=name,
        id=name.replace("/", "-"),
        resume="allow",
        config=about,
        settings=wandb.Settings(console="off", silent=True, disable_code=True, disable_git=True),
    )
    return lambda figures, step: run.log(figures, step=step), run.finish


def _mlflow(name: str, about: dict[str, Any]) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
    import mlflow

    experiment = mlflow.set_experiment(PROJECT).experiment_id
    found = mlflow.search_runs(
        [experiment], f"attributes.run_name = '{name}'", max_results=1, output_format="list"
    )
    run_id = found[0].info.run_id if found else None
    run = mlflow.start_run(run_id, experiment_id=experiment, run_name=name)
    if not found:
        mlflow.log_params(about)
    run_id = run.info.run_id
    return (
        lambda figures, step: mlflow.log_metrics(figures, step=step, run_id=run_id),
        mlflow.end_run,
    )


_OPEN: Final[dict[MetricsLibrary, _Open]] = {
    MetricsLibrary.TRACKIO: _trackio,
    MetricsLibrary.MLFLOW: _mlflow,
    MetricsLibrary.WANDB: _wandb,
}
