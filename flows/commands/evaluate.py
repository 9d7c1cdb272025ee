"""``tirgen eval``: a policy on benchmarks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows.commands.common import DEFAULT_STORE, SetOption, StorePath, open_store
from flows.commands.generate import engine_settings, parse_settings
from flows.commands.results import show_results
from flows.console import Json, print_json, say
from flows.progress import rollout_display
from flows.training.names import find_model
from flows.training.serving import serving
from storage.datasets import Store
from tirgen.jobs.evaluate import EvaluationReport, evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.progress import RolloutProgress
from tirgen.settings import load_settings


def evaluate_command(
    policy: str = "",
    *,
    bench: Annotated[list[str] | None, Parameter(negative="")] = None,
    code_bench: Annotated[list[str] | None, Parameter(negative="")] = None,
    limit: int | None = None,
    samples: int | None = None,
    pass_at: Annotated[list[int] | None, Parameter(negative="")] = None,
    best_of: int | None = None,
    self_correct: Annotated[bool, Parameter(negative="")] = False,
    cot: Annotated[bool, Parameter(negative="")] = False,
    engine: str | None = None,
    engine_model: str | None = None,
    engine_tokenizer: str | None = None,
    seed: int | None = None,
    config: Path | None = None,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Evaluate a policy: avg@k, pass@k, maj@k with intervals, code ratio, pass rate, cost.

    Samples land in the store and are not asked for again; the figures are in the view evaluations.

    Examples of use:

        tirgen eval pupil --bench pocket:test --limit 200

        tirgen eval pupil --samples 8 --pass-at 1 --pass-at 8 --best-of 8

        tirgen eval --engine http://127.0.0.1:8000/v1 --engine-model thor-7b --bench math500.jsonl
        --bench aime24.jsonl --code-bench humaneval.jsonl

    Parameters
    ----------
    policy
        A policy as NAME or NAME@vN, which the engine then loads, or a model's folder. By default
        what the engine serves: the packaged model, or whatever --engine has loaded.
    bench
        Problem file, Hugging Face datasets folder, or pocket:test; may be repeated.
    code_bench
        Tasks in HumanEval's format; may be repeated.
    limit
        Only the first so many problems of each benchmark.
    samples
        Answers to each problem.
    pass_at
        k of a pass@k and maj@k; may be repeated.
    best_of
        Also choose the best of so many samples by how many of its programs ran.
    self_correct
        Say failed steps anew, as configured by correction.
    cot
        Tools off: one answer by chain of thought.
    engine
        Base URL of an OpenAI-compatible server such as vLLM; by default the embedded engine.
    engine_model
        Model name on that server.
    engine_tokenizer
        Directory or Hugging Face id of its tokenizer, where the model name is not one.
    seed
        Same seed, same engine, same samples.
    config
        TOML or JSON file with any of the settings; flags win over it.
    """
    if limit and not bench and not code_bench and not config:
        bench = ["pocket:test"]
    overrides: dict[str, Any] = {
        "benchmarks": _benchmarks(bench, limit),
        "code_benchmarks": _benchmarks(code_bench, limit),
        "samples": samples,
        "analysis.pass_at": pass_at,
        "analysis.best_of": best_of,
        "correction": {} if self_correct else None,
        "reasoning": "cot" if cot else None,
        "seed": seed,
        **engine_settings("policy", engine, engine_model, engine_tokenizer),
        **parse_settings(set_ or []),
    }
    if code_bench and not bench:
        overrides["benchmarks"] = []
    resolved = load_settings(EvaluationConfig, config, overrides)
    opened = open_store(store)
    with rollout_display("eval") as display:
        report = asyncio.run(_evaluate(policy, resolved, opened, display.update))
    if json:
        results = [result.model_dump(mode="json") for result in report.results]
        print_json({"version": str(report.version), "policy": policy or None, "results": results})
        return
    show_results(str(report.version), [(policy or "as served", each) for each in report.results])
    reused = "reused" if report.reused_version else "published"
    say(
        f"{reused} {report.version} in {opened.root}; mean accuracy "
        f"{100 * report.mean_accuracy:.1f} %; {report.seconds:.1f} s"
    )


async def _evaluate(
    policy: str, config: EvaluationConfig, store: Store, watch: Callable[[RolloutProgress], None]
) -> EvaluationReport:
    """Of the policy, which the engine then loads, or else of what the engine serves."""
    served = await serving(config, find_model(store, policy)) if policy else config
    return await evaluate(served, store, watch)


def _benchmarks(paths: list[str] | None, limit: int | None) -> list[dict[str, Any]] | None:
    return [{"path": path, "limit": limit} for path in paths] if paths else None
