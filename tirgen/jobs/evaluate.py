"""The recipe of an evaluation: benchmarks in, every sample and a summary in the store out.

A judge is asked at the end; its opinions are lost if the run is killed before it publishes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from storage.datasets import Store
from storage.records import Opinion, Problem, Provenance, TokenStream, Trajectory
from storage.versions import DatasetVersion
from tirgen.data.code_tasks import CodeTask, Window, load_code_tasks
from tirgen.data.errors import ProblemsError
from tirgen.data.load import load_problems
from tirgen.evaluation.best_of_n import contenders
from tirgen.evaluation.results import (
    Analysis,
    BenchmarkResult,
    Scores,
    by_problem,
    candidates,
    summarise,
)
from tirgen.evaluation.reward_model import open_reward_model
from tirgen.filters.judge import AnswerJudge
from tirgen.jobs.code_maker import CodeMaker
from tirgen.jobs.committed_rows import CommittedRows, asked_for, by_id
from tirgen.jobs.engines import open_engine
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.job import Job, open_job
from tirgen.jobs.progress import RolloutProgress, Watch, unwatched
from tirgen.jobs.rollout import PolicyRecipe, SpreadSampling, sample_problems
from tirgen.jobs.rollout_maker import RolloutMaker
from tirgen.jobs.rollout_plan import RolloutPlan
from tirgen.jobs.shards import WHOLE, Shard
from tirgen.jobs.spreading import ALL, Ahead, JobReport, Wave
from tirgen.tir.markup import response_text

AT_ONCE = 1_000
"""Samples that a judge or a reward model is asked about at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport(JobReport[RolloutProgress]):
    """What an evaluation found; `results` is in the summary of its version's manifest too."""

    results: tuple[BenchmarkResult, ...]
    """One per benchmark, in the configured order."""

    @property
    def mean_accuracy(self) -> float:
        """The unweighted mean over benchmarks, as in the paper."""
        found = [result.accuracy.value for result in self.results if result.accuracy]
        return sum(found) / len(found) if found else 0.0


async def evaluate(
    config: EvaluationConfig, store: Store, watch: Watch[RolloutProgress] = unwatched
) -> EvaluationReport:
    """Sample the policy on every benchmark, judge, compute the results and publish.

    Raises `ProblemsError` and `EngineMisconfigured` before anything is written,
    `SandboxUnavailable` when no isolation is strong enough, and `EngineUnavailable` when the engine
    goes down for good. The same call then continues.
    """
    started = time.monotonic()
    bench = _load(config)
    asked = bench.document(config)
    async with _sampled(config, store, bench, watch, WHOLE) as (job, recipe):
        reused = job.published(recipe.plan.asked, lambda summary: bool(summary["asked"] == asked))
        version = reused or await _publish(config, job, recipe.plan, bench)
    summary = version.manifest["summary"]
    return EvaluationReport(
        version=version,
        reused_version=reused is not None,
        results=tuple(map(BenchmarkResult.model_validate, summary["results"])),
        progress=job.progress,
        seconds=time.monotonic() - started,
    )


class SpreadEvaluation(SpreadSampling[EvaluationReport]):
    """An evaluation as several processes work on it."""

    config: EvaluationConfig
    kind = EvaluationConfig

    def ahead(self) -> Ahead:
        problems = _load(self.config).problems
        plan = RolloutPlan(problems, self.config.samples, None, len(problems))
        reused = plan.load(CommittedRows(self.run).rows(by_id(problems)))
        return Ahead(ALL, problems, plan.due(), reused)

    async def settle(
        self, shard: Shard, watch: Watch[RolloutProgress] = unwatched, wave: Wave = ALL
    ) -> RolloutProgress:
        bench = _load(self.config)
        async with _sampled(self.config, self.store, bench, watch, shard) as (job, _):
            return job.progress

    async def finish(self, watch: Watch[RolloutProgress] = unwatched) -> EvaluationReport:
        return await evaluate(self.config, self.store, watch)


@dataclass(frozen=True, slots=True)
class _Benchmarks:
    """The problems of each benchmark, in the configured order."""

    by_name: dict[str, tuple[Problem, ...]]
    tasks: tuple[CodeTask, ...]
    """How those of code benchmarks are tested."""

    @property
    def problems(self) -> list[Problem]:
        return [problem for found in self.by_name.values() for problem in found]

    def document(self, config: EvaluationConfig) -> dict[str, Any]:
        """What is asked; a version with the same document in its summary can be reused."""
        sizes = {name: len(found) for name, found in self.by_name.items()}
        return {"problems": sizes, "analysis": config.analysis.model_dump(mode="json")}


def _load(config: EvaluationConfig) -> _Benchmarks:
    math = [load_problems(**each.model_dump()).problems for each in config.benchmarks]
    code = [
        load_code_tasks(each.path, each.limit, Window(each.since, each.until))
        for each in config.code_benchmarks
    ]
    questions = [*math, *(tuple(task.problem for task in tasks) for tasks in code)]
    by_name = {problems[0].source: problems for problems in questions}
    found = _Benchmarks(by_name, tuple(task for tasks in code for task in tasks))
    names = [problem.problem_id for problem in found.problems]
    if len(set(names)) != sum(map(len, questions)):
        raise ProblemsError(
            "two benchmarks share their name or the ids of their problems; rename one of the files"
        )
    return found


@asynccontextmanager
async def _sampled(
    config: EvaluationConfig,
    store: Store,
    bench: _Benchmarks,
    watch: Watch[RolloutProgress],
    shard: Shard,
) -> AsyncIterator[tuple[Job[RolloutProgress], PolicyRecipe]]:
    """The job, with all samples of the shard made."""
    problems = list(filter(shard.has, bench.problems))
    progress = RolloutProgress(problems=len(problems))
    recipe = PolicyRecipe(config, problems, progress)
    async with open_job(
        store, config, recipe, progress, watch, live=config.live, shard=shard
    ) as job:
        if job.has_work:
            await _sample(config, job, recipe, bench)
        yield job, recipe


async def _sample(
    config: EvaluationConfig, job: Job[RolloutProgress], recipe: PolicyRecipe, bench: _Benchmarks
) -> None:
    """Make all missing samples."""
    solver = RolloutMaker(config, recipe.context)
    coder = CodeMaker(config, recipe.context, bench.tasks)

    async def make(problem: Problem, number: int) -> Trajectory | None:
        maker = coder if problem.problem_id in coder.tasks else solver
        return await job.make_row(maker, maker.item(problem, number), recipe.plan.record)

    await sample_problems(job, recipe.plan, recipe.due, make, config.live)


async def _publish(
    config: EvaluationConfig, job: Job[RolloutProgress], plan: RolloutPlan, bench: _Benchmarks
) -> DatasetVersion:
    """Publish all samples, which are read once for each use; only what figures need is held."""
    read = job.run.reader(in_order=True)
    opinions = await _opinions(config, asked_for(read(), plan.asked))

    def rows() -> Iterator[Trajectory]:
        for row in asked_for(read(), plan.asked):
            yield replace(row, opinion=opinions.get(row.trajectory_id, row.opinion))

    held = list(_without_text(rows()))
    scores = await _scores(config.analysis, held, rows)
    results = []
    for name, problems in bench.by_name.items():
        ids = {problem.problem_id for problem in problems}
        own = [row for row in held if row.problem.problem_id in ids]
        digits = config.exact_digits
        results.append(summarise(name, own, config.analysis, config.seed, scores, digits))
    summary = {
        "problems": len(plan.asked),
        "trajectories": len(held),
        "asked": bench.document(config),
        "results": [result.model_dump(mode="json") for result in results],
    }
    return job.publish(rows(), summary, in_order=True)


async def _opinions(config: EvaluationConfig, rows: Iterator[Trajectory]) -> dict[str, Opinion]:
    """The judge's opinions by sample; empty without a judge."""
    opinions: dict[str, Opinion] = {}
    if config.analysis.judge:
        async with open_engine(config.analysis.judge) as engine:
            judge = AnswerJudge(engine, config.analysis.judge_tokens, config.seed)
            while chunk := list(islice(rows, AT_ONCE)):
                judged = await judge.with_opinions(chunk)
                opinions |= {row.trajectory_id: row.opinion for row in judged if row.opinion}
    return opinions


def _without_text(rows: Iterable[Trajectory]) -> Iterator[Trajectory]:
    """What the figures need of samples, about 1 kB of each: tokens only where some were corrected
    away, and what samples have in common once. Their seeds are left out."""
    problems: dict[Problem, Problem] = {}
    origins: dict[Provenance, Provenance] = {}
    for row in rows:
        steps = tuple(
            replace(step, thought="", action=step.action and "", observation=None, draft=None)
            for step in row.steps
        )
        origin = replace(row.provenance, seed=0)
        corrected = any(step.attempts for step in steps)
        yield replace(
            row,
            problem=problems.setdefault(row.problem, row.problem),
            provenance=origins.setdefault(origin, origin),
            steps=steps,
            tokens=row.tokens if corrected else TokenStream(),
        )


async def _scores(
    analysis: Analysis, held: Sequence[Trajectory], rows: Callable[[], Iterator[Trajectory]]
) -> Scores:
    """The reward model's score of every candidate of best-of-N that ties with another one."""
    if analysis.best_of is None or analysis.reward_model is None:
        return {}
    groups = map(contenders, candidates(by_problem(held), analysis.best_of))
    tied = {row.trajectory_id for group in groups if len(group) > 1 for row in group}
    texts = (row for row in rows() if row.trajectory_id in tied)
    scores: dict[str, float] = {}
    async with open_reward_model(analysis.reward_model) as model:

        async def score(row: Trajectory) -> None:
            text = response_text(row.steps)
            scores[row.trajectory_id] = await model.score(row.problem.question, text)

        while chunk := list(islice(texts, AT_ONCE)):
            await asyncio.gather(*map(score, chunk))
    return scores
