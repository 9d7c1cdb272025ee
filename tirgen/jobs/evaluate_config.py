"""The configuration of an evaluation: a policy, benchmarks, and the analysis of the samples."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import Field, model_validator

from tirgen.data.problem_settings import ProblemSettings
from tirgen.evaluation.results import Analysis
from tirgen.jobs.generate_config import SamplingSettings
from tirgen.jobs.rollout_config import PolicySettings, RolloutLoop
from tirgen.settings import Settings


class CodeBenchmark(Settings):
    """A code benchmark, run in the sandbox."""

    path: str
    """A file of HumanEval, MBPP, their EvalPlus versions, or LiveCodeBench."""
    limit: int | None = Field(None, ge=1)
    """Most tasks to take, from the start; by default all."""
    since: date | None = None
    """Day of the first contest that counts; LiveCodeBench only."""
    until: date | None = None
    """Day of the last contest that counts; LiveCodeBench only."""


class EvaluationConfig(PolicySettings):
    """An evaluation: benchmarks in, samples and a summary in the store out."""

    dataset: str = Field("evaluation", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the dataset that gets the samples."""
    benchmarks: tuple[ProblemSettings, ...] = (ProblemSettings(path="pocket:test"),)
    """Problems with answers; each file or folder is one benchmark."""
    code_benchmarks: tuple[CodeBenchmark, ...] = ()
    """Programs to write, judged by their tests; always sampled without tools."""
    samples: int = Field(4, ge=1, le=1024)
    """Samples per problem: avg@k averages over all of them (4 in the paper)."""
    sampling: SamplingSettings = SamplingSettings(temperature=0.6, top_p=1.0, top_k=0)
    """As in the paper's launcher: temperature 0.6, top_p 1, top_k off."""
    loop: RolloutLoop = RolloutLoop(tool_rounds=10, stop_at_failure=False)
    """For inference: 10 programs, and a failed program does not end the rollout."""
    analysis: Analysis = Analysis()

    @model_validator(mode="after")
    def _answerable(self) -> EvaluationConfig:
        if not self.benchmarks and not self.code_benchmarks:
            raise ValueError("an evaluation needs benchmarks or code_benchmarks")
        if max(self.analysis.pass_at, default=1) > self.samples:
            raise ValueError(
                f"pass_at {max(self.analysis.pass_at)} needs that many samples per problem, but "
                f"samples is {self.samples}"
            )
        if self.analysis.best_of and self.analysis.best_of > self.samples:
            raise ValueError(f"best_of {self.analysis.best_of} is more than samples {self.samples}")
        if self.analysis.best_of and self.correction:
            raise ValueError(
                "best_of chooses by failures, which correction repairs; leave correction out, or "
                "evaluate twice"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Without limits and analysis, which change no sample."""
        document = super().identity()
        del document["analysis"]
        for name in ("benchmarks", "code_benchmarks"):
            for benchmark in document[name]:
                benchmark["limit"] = None
        for benchmark in document["code_benchmarks"]:
            benchmark["since"] = benchmark["until"] = None
        return document
