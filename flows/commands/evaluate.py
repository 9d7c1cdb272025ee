"""``tirgen eval``: a policy on benchmarks."""

from __future__ import annotations

import asyncio
from typing import Any

from flows.commands.options import (
    DEFAULT_STORE,
    HERE,
    ConfigFile,
    Counts,
    Flag,
    Json,
    Machines,
    Repeated,
    SetOption,
    StorePath,
    open_store,
    parse_settings,
)
from flows.commands.results import show_results
from flows.terminal.console import print_json, say
from flows.terminal.progress import job_display
from flows.terminal.report import engine_sentences
from flows.training.models import find_model, serving
from storage.datasets import Store
from tirgen.engine.engine_config import engine_settings
from tirgen.jobs.evaluate import EvaluationReport, SpreadEvaluation
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.progress import RolloutProgress, Watch
from tirgen.jobs.shards import Shard
from tirgen.jobs.spreading import Place, one_shard
from tirgen.settings import ConfigError, load_settings


def evaluate_command(
    policy: str = "",
    *,
    bench: Repeated = None,
    code_bench: Repeated = None,
    limit: int | None = None,
    samples: int | None = None,
    pass_at: Counts = None,
    best_of: int | None = None,
    self_correct: Flag = False,
    cot: Flag = False,
    engine: Repeated = None,
    engine_model: str | None = None,
    engine_tokenizer: str | None = None,
    seed: int | None = None,
    config: ConfigFile = None,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    machines: Machines = HERE,
    json: Json = False,
) -> None:
    """Evaluate a policy: avg@k, pass@k, maj@k with intervals, code ratio, pass rate, cost.

    Samples are kept in the store and reused; the figures are in the view evaluations.

    Examples of use:

        tirgen eval pupil --bench pocket:test --limit 200

        tirgen eval pupil --samples 8 --pass-at 1 --pass-at 8 --best-of 8

        tirgen eval --engine http://127.0.0.1:8000/v1 --engine-model thor-7b --bench math500.jsonl
        --bench aime24.jsonl --code-bench humaneval.jsonl

        tirgen eval thor@v3 --bench math500.jsonl --on ray://head:10001

        tirgen eval thor --set 'code_benchmarks=[{"path": "test6.jsonl", "since": "2025-01-01"}]'

    Parameters
    ----------
    policy
        A policy as NAME or NAME@vN, which the engine then loads, or a model's folder. By default
        the model that the engine serves: the packaged one, or the one that --engine has loaded.
    bench
        Problem file, Hugging Face datasets folder, or pocket:test; may be repeated.
    code_bench
        File of HumanEval, MBPP, their EvalPlus versions or LiveCodeBench; may be repeated.
    limit
        Only this many problems of each benchmark, the first ones.
    samples
        Answers to each problem.
    pass_at
        k of a pass@k and maj@k; may be repeated.
    best_of
        Also choose the best of this many samples by how many of its programs ran.
    self_correct
        Write failed steps again, as configured by correction.
    cot
        Tools off: one answer by chain of thought.
    engine
        Base URL of an OpenAI-compatible server such as vLLM; repeat it for replicas. By default the
        embedded engine.
    engine_model
        Model name on that server.
    engine_tokenizer
        Directory or Hugging Face id of its tokenizer, if the model name is not one.
    seed
        Same seed, same engine, same samples.
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
        **parse_settings(set_),
    }
    if code_bench and not bench:
        overrides["benchmarks"] = []
    resolved = load_settings(EvaluationConfig, config, overrides)
    opened, shard = open_store(store), machines.one()
    if shard and policy and resolved.policy.kind != "embedded":
        raise ConfigError(
            "--shard: every process would load the policy into the server again, while others "
            "sample it. Leave POLICY out, and set policy_version to the name of the policy that "
            "the server has; or use --on"
        )
    with machines.place() as place, job_display("eval") as display:
        report = asyncio.run(_evaluate(policy, resolved, opened, place, shard, display.update))
    if report is None:
        say(f"shard {machines.shard} is done; other shards have problems left")
        if json:
            print_json({"version": None, "shard": machines.shard})
        return
    if json:
        results = [result.model_dump(mode="json") for result in report.results]
        print_json({"version": str(report.version), "policy": policy or None, "results": results})
    else:
        _show(report, policy or "as served", opened)


def _show(report: EvaluationReport, policy: str, store: Store) -> None:
    show_results(str(report.version), [(policy, result) for result in report.results])
    reused = "reused" if report.reused_version else "published"
    say(
        f"{reused} {report.version} in {store}; mean accuracy "
        f"{100 * report.mean_accuracy:.1f} %; {report.seconds:.1f} s"
    )
    for sentence in engine_sentences(report.progress.idle):
        say(sentence)


async def _evaluate(
    policy: str,
    config: EvaluationConfig,
    store: Store,
    place: Place,
    shard: Shard | None,
    watch: Watch[RolloutProgress],
) -> EvaluationReport | None:
    """Evaluate the policy, which the engine loads first, or else the model that is served.

    None where other processes have problems left.
    """
    served = await serving(config, find_model(store, policy)) if policy else config
    job = SpreadEvaluation(served, store)
    return await (one_shard(job, shard, watch) if shard else place(job, watch))


def _benchmarks(paths: list[str] | None, limit: int | None) -> list[dict[str, Any]] | None:
    return [{"path": path, "limit": limit} for path in paths] if paths else None
