"""``tirgen generate`` and ``tirgen demo``: problems in, a verified and filtered dataset out."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows.commands.common import DEFAULT_STORE, SetOption, StorePath, open_store
from flows.console import Json, print_json, say, show_settings
from flows.failures import WORK_FAILED
from flows.problems import problems_document, say_problems, say_unread
from flows.progress import generation_display
from flows.report import report_document, show_estimate, show_report
from storage.datasets import Store
from tirgen.data.load import load_problems, unread_columns
from tirgen.jobs.estimate import estimate as estimate_cost
from tirgen.jobs.generate import GenerationReport, generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.settings import ConfigError, load_settings

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
    id_field: str | None = None,
    difficulty_field: str | None = None,
    skip_bad_rows: Annotated[bool | None, Parameter(negative="")] = None,
    actor: str | None = None,
    actor_model: str | None = None,
    actor_tokenizer: str | None = None,
    critic: str | None = None,
    critic_model: str | None = None,
    critic_tokenizer: str | None = None,
    attempts: int | None = None,
    seed: int | None = None,
    budget_tokens: int | None = None,
    budget_minutes: float | None = None,
    budget_money: float | None = None,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    estimate: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
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
    config
        TOML or JSON file with any of the settings; flags win over it.
    dataset
        Name of the dataset to publish.
    problems
        JSONL, JSON, CSV, TSV (also .gz, .zst), Parquet, a Hugging Face datasets folder, or
        pocket:train, pocket:test.
    limit
        Only the first so many problems.
    split
        Split of a Hugging Face datasets folder.
    question_field
        Field that holds the question, where the layout is not recognised.
    answer_field
        Field that holds the gold answer, where the layout is not recognised.
    id_field
        Field that holds the publisher's id.
    difficulty_field
        Field that holds the difficulty.
    skip_bad_rows
        Go on without bad rows however many there are; by default up to one in twenty.
    actor
        Who reasons: "embedded", or the base URL of an OpenAI-compatible server such as vLLM.
    actor_model
        Model name on that server.
    actor_tokenizer
        Directory or Hugging Face id of its tokenizer, where the model name is not one.
    critic
        Who writes programs: "embedded", or a base URL.
    critic_model
        Model name on that server.
    critic_tokenizer
        Directory or Hugging Face id of its tokenizer, where the model name is not one.
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
    estimate
        Run a few of the problems, tell what all will cost, and stop; the rows are kept and reused.
    dry_run
        Print the resolved configuration, read the problems, and stop.
    """
    overrides: dict[str, Any] = {
        "dataset": dataset,
        "problems.path": problems,
        "problems.limit": limit,
        "problems.split": split,
        "problems.question_field": question_field,
        "problems.answer_field": answer_field,
        "problems.id_field": id_field,
        "problems.difficulty_field": difficulty_field,
        "problems.skip_bad_rows": skip_bad_rows,
        "attempts": attempts,
        "seed": seed,
        "budget.tokens": budget_tokens,
        "budget.minutes": budget_minutes,
        "budget.money": budget_money,
        **engine_settings("actor", actor, actor_model, actor_tokenizer),
        **engine_settings("critic", critic, critic_model, critic_tokenizer),
        **parse_settings(set_ or []),
    }
    resolved = load_settings(GenerateConfig, config, overrides)
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
    """
    settings = {"dataset": "demo", "problems.path": "pocket:test", "problems.limit": DEMO_PROBLEMS}
    _run(load_settings(GenerateConfig, None, settings), store, as_json=json)


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


def _run(config: GenerateConfig, store_path: Path, *, as_json: bool) -> None:
    store = open_store(store_path)
    say(f"dataset {config.dataset} in {store.root}, problems {config.problems.path}")
    _warn_of_other_problems(store, config)
    fields = {"path", "question_field", "answer_field", "split"}
    say_unread(unread_columns(**config.problems.model_dump(include=fields)))
    with generation_display("generate") as display:
        report: GenerationReport = asyncio.run(generate(config, store, display.update))
    if as_json:
        print_json(report_document(report))
    else:
        show_report(report, store_path)
    if not report.version.manifest["kept_rows"] and not report.stopped:
        sys.exit(WORK_FAILED)


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


def engine_settings(
    role: str, where: str | None, model: str | None, tokenizer: str | None
) -> dict[str, Any]:
    """The settings that ``--actor``, ``--actor-model`` and ``--actor-tokenizer`` stand for."""
    settings: dict[str, Any] = {f"{role}.model": model, f"{role}.tokenizer": tokenizer}
    if where is not None and where != "embedded":
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
