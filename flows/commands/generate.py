"""``tirgen generate`` and ``tirgen demo``: problems in, a verified and filtered dataset out."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows.commands.common import DEFAULT_STORE, StorePath, open_store
from flows.console import Json, print_json, say, show_settings
from flows.progress import generation_display
from flows.report import report_document, show_estimate, show_report
from storage.datasets import Store
from tirgen.config import GenerateConfig, load_config
from tirgen.estimate import estimate as estimate_cost
from tirgen.generate import Report, generate
from tirgen.problems.load import load_problems
from tirgen.settings import ConfigError
from tirgen.verification import undecidable

DEMO_PROBLEMS = 240


def generate_command(
    *,
    config: Path | None = None,
    dataset: str | None = None,
    problems: str | None = None,
    limit: int | None = None,
    split: str | None = None,
    question_field: str | None = None,
    answer_field: str | None = None,
    skip_bad_rows: Annotated[bool | None, Parameter(negative="")] = None,
    actor: str | None = None,
    actor_model: str | None = None,
    critic: str | None = None,
    critic_model: str | None = None,
    attempts: int | None = None,
    seed: int | None = None,
    budget_tokens: int | None = None,
    budget_minutes: float | None = None,
    budget_money: float | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    store: StorePath = DEFAULT_STORE,
    estimate: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Generate verified TIR trajectories and publish them as the dataset's next version.

    Running the same command again continues where it stopped; a finished one is reused.

    Examples:

        tirgen generate --dataset pocket --limit 200

        tirgen generate --problems gsm8k_test.jsonl --actor http://127.0.0.1:8000/v1
        --actor-model Qwen/Qwen2.5-Math-7B --critic http://127.0.0.1:8001/v1
        --critic-model Qwen/Qwen3-32B

        tirgen generate --config run.toml --set actor_sampling.temperature=0.8 --dry-run

    Parameters
    ----------
    config
        TOML or JSON file with any of the settings; flags win over it.
    dataset
        Name of the dataset to publish.
    problems
        JSONL, JSON, CSV, Parquet, a Hugging Face datasets folder, or pocket:train, pocket:test.
    limit
        Only the first so many problems.
    split
        Split of a Hugging Face datasets folder.
    question_field
        Field that holds the question, where the layout is not recognised.
    answer_field
        Field that holds the gold answer, where the layout is not recognised.
    skip_bad_rows
        Go on without rows that have no question or no answer, naming them.
    actor
        Who reasons: "pocket", or the base URL of an OpenAI-compatible server such as vLLM.
    actor_model
        Model name on that server.
    critic
        Who writes programs: "pocket", or a base URL.
    critic_model
        Model name on that server.
    attempts
        Up to so many attempts a problem, stopping at the first that is kept.
    seed
        Same seed, same engine, same rows.
    budget_tokens
        Stop at so many prompt and completion tokens and publish what is finished; a higher budget
        goes on. Counts all calls of the run, and so do the other budgets.
    budget_minutes
        Stop after so much wall time.
    budget_money
        Stop at so much money; needs the models' budget.prices in the configuration.
    set_
        Any other setting by its dotted name, e.g. loop.step_tokens=256; may be repeated.
    store
        Folder of the store.
    estimate
        Run a few of the problems, tell what all will cost, and stop; the rows are kept and reused.
    dry_run
        Print the resolved configuration and stop.
    json
        Print one JSON document on stdout.
    """
    overrides: dict[str, Any] = {
        "dataset": dataset,
        "problems.path": problems,
        "problems.limit": limit,
        "problems.split": split,
        "problems.question_field": question_field,
        "problems.answer_field": answer_field,
        "problems.skip_bad_rows": skip_bad_rows,
        "attempts": attempts,
        "seed": seed,
        "budget.tokens": budget_tokens,
        "budget.minutes": budget_minutes,
        "budget.money": budget_money,
        **engine_settings("actor", actor, actor_model),
        **engine_settings("critic", critic, critic_model),
        **parse_settings(set_ or []),
    }
    resolved = load_config(config, overrides)
    if dry_run:
        _show_resolved(resolved, as_json=json)
        return
    if estimate:
        _estimate(resolved, store, as_json=json)
        return
    _run(resolved, store, as_json=json)


def demo_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Run the main job on the embedded engine: no network, no key, no accelerator.

    TIRGen over 240 packaged problems into a published dataset version; a second run reuses it.

    Parameters
    ----------
    store
        Folder of the store.
    json
        Print one JSON document on stdout.
    """
    settings = {"dataset": "demo", "problems.path": "pocket:test", "problems.limit": DEMO_PROBLEMS}
    _run(load_config(None, settings), store, as_json=json)


def _show_resolved(config: GenerateConfig, *, as_json: bool) -> None:
    settings = config.model_dump(mode="json")
    if as_json:
        print_json({"config": settings, "config_hash": config.hash})
        return
    show_settings(settings)
    _warn_of_undecidable(config)
    say(f"configuration {config.hash}; nothing was run")


def _warn_of_undecidable(config: GenerateConfig) -> None:
    """Say how many gold answers nobody can judge by, before inference is paid for."""
    problems = load_problems(**config.problems.model_dump()).problems
    unfit = [why for problem in problems if (why := undecidable(problem.answer))]
    if unfit:
        say(f"{len(unfit)} of {len(problems)} gold answers cannot be verified: {unfit[0]}")


def _run(config: GenerateConfig, store_path: Path, *, as_json: bool) -> None:
    store = open_store(store_path)
    say(f"dataset {config.dataset} in {store.root}, problems {config.problems.path}")
    _warn_of_other_problems(store, config)
    _warn_of_undecidable(config)
    with generation_display("generate") as display:
        report: Report = asyncio.run(generate(config, store, display.update))
    if as_json:
        print_json(report_document(report))
    else:
        show_report(report, store_path)


def _warn_of_other_problems(store: Store, config: GenerateConfig) -> None:
    """A version holds the rows of its own problems only, which a forgotten --problems changes."""
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


def engine_settings(role: str, where: str | None, model: str | None) -> dict[str, Any]:
    """The settings that ``--actor`` and ``--actor-model`` (or critic's) stand for."""
    settings: dict[str, Any] = {f"{role}.model": model}
    if where is not None and where != "pocket":
        settings |= {f"{role}.kind": "tokens", f"{role}.base_url": where}
    return settings


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """``name=value`` pairs; values are JSON where they parse as such, else text."""
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected name=value, e.g. loop.step_tokens=256")
        try:
            parsed[name] = json.loads(value)
        except json.JSONDecodeError:
            parsed[name] = value
    return parsed
