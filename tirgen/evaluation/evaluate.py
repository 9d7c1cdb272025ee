"""One function evaluates a policy: benchmarks in, every sample and a summary in the store out.

It can be stopped anywhere and called again: samples that were committed are not asked for again.
A judge's opinions are asked for at the end, and lost with a run that is killed before it publishes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

from storage.datasets import Store
from storage.records import Problem, Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.committed import rows_of, version_of
from tirgen.curation.reverify import response_text
from tirgen.evaluation.best_of_n import contenders
from tirgen.evaluation.code import CodeMaker, load_code_tasks
from tirgen.evaluation.config import Analysis, EvaluationConfig
from tirgen.evaluation.results import (
    BenchmarkResult,
    Scores,
    by_problem,
    candidates,
    summarise,
)
from tirgen.evaluation.reward_model import open_reward_model
from tirgen.opinion import with_opinions
from tirgen.problems.errors import ProblemsError
from tirgen.problems.load import load_problems
from tirgen.rollouts.collect import workshop
from tirgen.rollouts.crew import Progress, Watch
from tirgen.rollouts.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """What an evaluation found."""

    version: DatasetVersion
    """Every sample; its manifest holds `results` under ``summary``."""
    reused_version: bool
    """Nothing was missing: the version had been published before."""
    results: tuple[BenchmarkResult, ...]
    """One for each benchmark, in the order they were given."""
    progress: Progress
    seconds: float

    @property
    def mean_accuracy(self) -> float:
        """The unweighted mean over benchmarks, as the paper's averages are."""
        found = [result.accuracy.value for result in self.results if result.accuracy]
        return sum(found) / len(found) if found else 0.0


async def evaluate(
    config: EvaluationConfig, store: Store, watch: Watch = lambda progress: None
) -> EvaluationReport:
    """Sample the policy on every benchmark, judge, sum up and publish.

    Raises `ProblemsError` and `EngineMisconfigured` before anything is written,
    `SandboxUnavailable` when no isolation good enough can be had, and `EngineUnavailable` when
    the engine goes down for good; then the same call continues.
    """
    started = time.monotonic()
    bench = _load(config)
    plan = Plan(bench.problems, config.samples, None, len(bench.problems))
    progress = Progress(wanted_groups=None, problems=len(bench.problems))
    run = store.find_run(config.dataset, config.hash)
    progress.reused_rows = plan.load(rows_of(run, {p.problem_id: p for p in bench.problems}))
    first = plan.next()
    if run is None or first is not None:
        run = await _sample(config, store, plan, first, bench, progress, watch)
    made = version_of(run, plan.asked) if first is None else None
    reused = made is not None and made.manifest["summary"]["asked"] == bench.document(config)
    if made is None or not reused:
        made = await _publish(config, run, plan, bench)
    summary = made.manifest["summary"]
    return EvaluationReport(
        version=made,
        reused_version=reused,
        results=tuple(map(BenchmarkResult.model_validate, summary["results"])),
        progress=progress,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class _Benchmarks:
    """Everything that is asked, by benchmark."""

    math: dict[str, tuple[Problem, ...]]
    code: dict[str, tuple[Problem, ...]]

    @property
    def tasks(self) -> list[Problem]:
        return [task for tasks in self.code.values() for task in tasks]

    @property
    def problems(self) -> list[Problem]:
        return [*(p for found in self.math.values() for p in found), *self.tasks]

    def document(self, config: EvaluationConfig) -> dict[str, Any]:
        """What a published summary must have been made of to be the answer."""
        sizes = {name: len(found) for name, found in (self.math | self.code).items()}
        return {"problems": sizes, "analysis": config.analysis.model_dump(mode="json")}


def _load(config: EvaluationConfig) -> _Benchmarks:
    math = [load_problems(**each.model_dump()).problems for each in config.benchmarks]
    code = [load_code_tasks(**each.model_dump()) for each in config.code_benchmarks]
    found = _Benchmarks(
        {problems[0].source: problems for problems in math},
        {tasks[0].source: tasks for tasks in code},
    )
    names = [problem.problem_id for problem in found.problems]
    given = sum(map(len, math)) + sum(map(len, code))
    if len(names) != given or len(set(names)) != given:
        raise ProblemsError(
            "two benchmarks share their name or the ids of their problems; rename one of the files"
        )
    return found


async def _sample(
    config: EvaluationConfig,
    store: Store,
    plan: Plan,
    first: Problem | None,
    bench: _Benchmarks,
    progress: Progress,
    watch: Watch,
) -> Run:
    """Everything that is still missing."""
    coding = {task.problem_id for task in bench.tasks}
    async with workshop(config, store, progress, watch) as shop:
        plain = config.model_copy(update={"reasoning": "cot", "correction": None})
        coder = shop.maker.sibling(CodeMaker, plain)

        def make(problem: Problem, attempt: int) -> Awaitable[Trajectory]:
            maker = coder if problem.problem_id in coding else shop.maker
            return maker.make(problem, attempt)

        await shop.crew.work(plan, first, make)
    return shop.run


async def _publish(
    config: EvaluationConfig, run: Run, plan: Plan, bench: _Benchmarks
) -> DatasetVersion:
    rows = list(rows_of(run, plan.asked))
    if config.analysis.judge:
        judge, judge_tokens = config.analysis.judge, config.analysis.judge_tokens
        rows = await with_opinions(rows, judge, judge_tokens, config.seed)
    scores = await _scores(config.analysis, rows)
    results = []
    for name, problems in (bench.math | bench.code).items():
        ids = {problem.problem_id for problem in problems}
        own = [row for row in rows if row.problem.problem_id in ids]
        results.append(summarise(name, own, config.analysis, config.seed, scores))
    summary = {
        "problems": len(plan.asked),
        "trajectories": len(rows),
        "asked": bench.document(config),
        "results": [result.model_dump(mode="json") for result in results],
    }
    return run.publish(rows, summary)


async def _scores(analysis: Analysis, rows: Sequence[Trajectory]) -> Scores:
    """A reward model's score of every candidate of best-of-N that another one ties with."""
    if analysis.best_of is None or analysis.reward_model is None:
        return {}
    groups = map(contenders, candidates(by_problem(rows), analysis.best_of))
    tied = [row for group in groups if len(group) > 1 for row in group]
    async with open_reward_model(analysis.reward_model) as model:

        async def score(row: Trajectory) -> float:
            return await model.score(row.problem.question, response_text(row.steps))

        scores = await asyncio.gather(*map(score, tied))
    return {row.trajectory_id: score for row, score in zip(tied, scores, strict=True)}
