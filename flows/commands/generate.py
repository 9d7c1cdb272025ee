"""``tirgen generate`` and ``tirgen demo``: problems in, a verified and filtered dataset out."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows.commands.options import (
    DEFAULT_STORE,
    HERE,
    NO_ENGINES,
    ConfigFile,
    Engines,
    Flag,
    Json,
    Machines,
    SetOption,
    StorePath,
    open_store,
    parse_settings,
)
from flows.terminal.console import print_json, say, show_settings
from flows.terminal.failures import WORK_FAILED
from flows.terminal.problems import problems_document, say_problems, say_warnings
from flows.terminal.progress import generation_display
from flows.terminal.report import report_document, show_estimate, show_report
from storage.datasets import Store
from tirgen.data.load import load_problems
from tirgen.jobs.estimate import estimate as estimate_cost
from tirgen.jobs.generate import SpreadGeneration
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.spreading import one_shard
from tirgen.settings import load_settings

DEMO_PROBLEMS = 240


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Problems:
    """Which problems to read, and how."""

    problems: str | None = None
    """JSONL, JSON, CSV, TSV (also .gz, .zst), Parquet, a Hugging Face datasets folder, or
    pocket:train, pocket:test."""
    limit: int | None = None
    """Only this many problems, the first ones."""
    split: str | None = None
    """Split of a Hugging Face datasets folder."""
    question_field: str | None = None
    """Field with the question, if the layout is not recognised."""
    answer_field: str | None = None
    """Field with the gold answer, if the layout is not recognised."""
    id_field: str | None = None
    """Field with the publisher's id."""
    difficulty_field: str | None = None
    """Field with the difficulty."""
    skip_bad_rows: Annotated[bool | None, Parameter(negative="")] = None
    """Skip any number of bad rows; by default at most one in twenty."""

    def settings(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["path"] = fields.pop("problems")
        return {f"problems.{name}": value for name, value in fields.items()}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Budgets:
    """When to stop. Each counts all calls of the run; a higher budget continues the run."""

    budget_tokens: int | None = None
    """Stop at this many prompt and completion tokens, over all calls of the run, and publish what
    is finished; a higher budget continues."""
    budget_minutes: float | None = None
    """Stop after this wall time."""
    budget_money: float | None = None
    """Stop at this cost; needs the models' budget.prices in the configuration."""

    def settings(self) -> dict[str, Any]:
        return {name.replace("_", ".", 1): value for name, value in asdict(self).items()}


ANY_PROBLEMS, NO_BUDGETS = Problems(), Budgets()


def generate_command(
    *,
    config: ConfigFile = None,
    dataset: str | None = None,
    problems: Problems = ANY_PROBLEMS,
    engines: Engines = NO_ENGINES,
    attempts: int | None = None,
    seed: int | None = None,
    budgets: Budgets = NO_BUDGETS,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    machines: Machines = HERE,
    estimate: Flag = False,
    dry_run: Flag = False,
    json: Json = False,
) -> None:
    """Generate verified TIR trajectories and publish them as the dataset's next version.

    Running the same command again continues where it stopped; a finished one is reused. A run that
    keeps no trajectory publishes its rows, says why, and exits with 1.

    Examples of use:

        tirgen generate --dataset pocket --limit 200

        tirgen generate --problems gsm8k_test.jsonl --actor http://127.0.0.1:8000/v1
        --actor-model Qwen/Qwen2.5-Math-7B --critic http://127.0.0.1:8001/v1
        --critic-model Qwen/Qwen3-32B

        tirgen generate --config run.toml --set actor_sampling.temperature=0.8 --dry-run

    Parameters
    ----------
    dataset
        Name of the dataset to publish.
    attempts
        Attempts at a problem, at most; the first one that is kept is the last.
    seed
        Same seed, same engine, same rows.
    estimate
        Run a few of the problems, print what all of them will cost, and stop; the rows are kept
        and reused.
    dry_run
        Print the resolved configuration, read the problems, and stop.
    """
    overrides: dict[str, Any] = {
        "dataset": dataset,
        "attempts": attempts,
        "seed": seed,
        **problems.settings(),
        **budgets.settings(),
        **engines.settings(),
        **parse_settings(set_),
    }
    resolved = load_settings(GenerateConfig, config, overrides)
    if dry_run:
        _show_resolved(resolved, as_json=json)
    elif estimate:
        _estimate(resolved, store, as_json=json)
    else:
        _run(resolved, store, machines, as_json=json)


def demo_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Run the main job on the embedded engine: no network, no key, no accelerator.

    TIRGen over 240 packaged problems into a published dataset version; a second run reuses it.
    """
    settings = {"dataset": "demo", "problems.path": "pocket:test", "problems.limit": DEMO_PROBLEMS}
    _run(load_settings(GenerateConfig, None, settings), store, HERE, as_json=json)


def _show_resolved(config: GenerateConfig, *, as_json: bool) -> None:
    settings = config.model_dump(mode="json")
    found = load_problems(**config.problems.model_dump())
    if as_json:
        problems = problems_document(found)
        fingerprint = config.fingerprint()
        print_json({"config": settings, "config_hash": fingerprint, "problems": problems})
        return
    show_settings(settings)
    say_problems(found)
    say(f"configuration {config.fingerprint()}; nothing was run")


def _run(config: GenerateConfig, store_path: Path, machines: Machines, *, as_json: bool) -> None:
    shard, store = machines.one(), open_store(store_path)
    with machines.place() as place:
        say(f"dataset {config.dataset} in {store}, problems {config.problems.path}")
        _warn_of_other_problems(store, config)
        say_warnings(load_problems(**config.problems.model_dump()))
        job = SpreadGeneration(config, store)
        with generation_display("generate") as display:
            report = asyncio.run(
                one_shard(job, shard, display.update) if shard else place(job, display.update)
            )
    if report is None:
        done = f"shard {machines.shard} is done"
        say(f"{done}; other shards have problems left, the last one publishes")
        if as_json:
            print_json({"dataset": config.dataset, "version": None, "shard": machines.shard})
        return
    if as_json:
        print_json(report_document(report))
    else:
        show_report(report, store_path)
    if not report.version.manifest["kept_rows"] and not report.stopped:
        sys.exit(WORK_FAILED)


def _warn_of_other_problems(store: Store, config: GenerateConfig) -> None:
    """A version has only the rows of its own problems; warn if --problems was forgotten."""
    earlier = store.versions(config.dataset)
    made = earlier[-1].manifest["config"].get("problems", {}) if earlier else {}
    if made and made["path"] != config.problems.path:
        say(
            f"note: {earlier[-1]} was made of {made['path']}; the next version will hold rows of "
            f"{config.problems.path} only"
        )


def _estimate(config: GenerateConfig, store_path: Path, *, as_json: bool) -> None:
    with generation_display("estimate") as display:
        found = asyncio.run(estimate_cost(config, open_store(store_path), display.update))
    if as_json:
        print_json(asdict(found))
    else:
        show_estimate(found, config)
