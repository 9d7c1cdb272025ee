"""What the samples of one benchmark say, as figures with intervals; pure over stored rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from storage.records import Outcome, Program, Trajectory
from tirgen.engine.engine_config import EngineConfig
from tirgen.evaluation.best_of_n import choose
from tirgen.evaluation.estimates import Bootstrap, Estimate, majority_at_k, pass_at_k
from tirgen.evaluation.reward_model import RewardModelConfig
from tirgen.evaluation.votes import answer_keys
from tirgen.settings import Count, Settings
from tirgen.verification.verdicts import TESTS, is_right


class Analysis(Settings):
    """How the samples are analysed; changing it needs no new samples."""

    pass_at: tuple[Count, ...] = (1,)
    """k of each pass@k (unbiased estimator) and maj@k; at most `samples`."""
    best_of: int | None = Field(None, ge=2)
    """Also choose the best of this many first samples by execution pass rate."""
    reward_model: RewardModelConfig | None = None
    """Breaks ties of best-of-N; by default the majority answer does."""
    judge: EngineConfig | None = None
    """A language model that checks answers which the verifier found wrong; by default none."""
    judge_tokens: Count = 16
    """Longest reply of the judge in tokens; raise it for a model that thinks first."""
    resamples: Count = 2000
    """Number of bootstrap resamples over problems."""
    confidence: float = Field(0.95, gt=0, lt=1)


class BenchmarkResult(BaseModel):
    """One benchmark; rows that the machinery lost count nowhere but in `lost`."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    benchmark: str
    problems: int
    samples: int
    """Rows that say something of the policy."""
    lost: int
    """Rows that the machinery lost; the same command makes them again."""
    unverifiable: int = 0
    """Rows of problems whose gold answer cannot be verified, which count nowhere else: not even
    the answers among them that are spelled as the gold one."""
    accuracy: Estimate | None
    """avg@k over all samples, a judge's opinions included."""
    accuracy_by_rules: Estimate | None
    """The same by the rules alone."""
    pass_at: dict[int, Estimate]
    """Unbiased pass@k."""
    majority_at: dict[int, Estimate]
    """maj@k; empty for code benchmarks, which have no answer to vote on."""
    best_of: Estimate | None
    """Accuracy of best-of-N by execution pass rate."""
    code_ratio: Estimate | None
    """Share of samples that ran a program."""
    execution_pass: Estimate | None
    """Share of programs that ran, of those that stand in the responses (Table 6)."""
    execution_pass_all: Estimate | None
    """Share of programs that ran, of all that were tried, those corrected away too (method A21)."""
    programs: int
    programs_failed: int
    corrections: int
    """Failed tries that self-correction replaced."""
    truncated: float
    """Share of samples that a limit cut short."""
    tokens_per_sample: Estimate | None
    """Sampled tokens, those corrected away included: what a sample costs (Table 7)."""
    correction_tokens: float
    """Of those, tokens a sample that self-correction threw away."""
    seconds_per_sample: Estimate | None
    """From a sample's first request to its end, under the load of this evaluation."""


Scores = Mapping[str, float]


def summarise(
    benchmark: str,
    rows: Sequence[Trajectory],
    analysis: Analysis,
    seed: int,
    scores: Scores,
    exact_digits: int | None = None,
) -> BenchmarkResult:
    """All figures of one benchmark. `scores` are a reward model's, by trajectory id.

    `exact_digits` is that of `Verifier`: answers are equal in votes as they are right in verdicts.
    """
    problems = by_problem(rows)
    sound = [row for problem in problems for row in problem]
    sampled = sum(not row.ending.is_infrastructure for row in rows)
    over = _Over(problems, Bootstrap(seed, analysis.resamples, analysis.confidence))
    ranked = scores if analysis.reward_model else None
    chosen = [
        choose(c, seed, ranked, exact_digits) for c in candidates(problems, analysis.best_of or 0)
    ]
    votes_at = () if all(map(is_code, sound)) else analysis.pass_at
    return BenchmarkResult(
        benchmark=benchmark,
        problems=len(problems),
        samples=len(sound),
        lost=len(rows) - sampled,
        unverifiable=sampled - len(sound),
        accuracy=over.mean(partial(_average, is_right)),
        accuracy_by_rules=over.mean(partial(_average, lambda row: row.correct)),
        pass_at=over.mean_at(analysis.pass_at, _passing),
        majority_at=over.mean_at(votes_at, partial(_agreed, seed, exact_digits)),
        best_of=over.boot.mean(list(map(is_right, chosen))),
        code_ratio=over.share(lambda row: bool(programs(row)), lambda row: 1),
        execution_pass=over.share(_passed, programs),
        execution_pass_all=over.share(_passed, lambda row: programs(row) + _corrections(row)),
        programs=sum(map(programs, sound)),
        programs_failed=sum(map(failed_programs, sound)),
        corrections=sum(map(_corrections, sound)),
        truncated=_average(lambda row: row.ending.is_truncated, sound),
        tokens_per_sample=over.share(lambda row: row.cost.actor_completion_tokens, lambda row: 1),
        correction_tokens=_average(_correction_tokens, sound),
        seconds_per_sample=over.share(lambda row: row.cost.wall_seconds, lambda row: 1),
    )


@dataclass(frozen=True, slots=True)
class _Over:
    """Estimates over the samples of every problem."""

    problems: Sequence[Sequence[Trajectory]]
    boot: Bootstrap

    def share(
        self, part: Callable[[Trajectory], float], whole: Callable[[Trajectory], float]
    ) -> Estimate | None:
        """The sum of one over the sum of the other, over all samples."""
        return self.boot.ratio(
            [sum(map(part, samples)) for samples in self.problems],
            [sum(map(whole, samples)) for samples in self.problems],
        )

    def mean(
        self, value: Callable[[Sequence[Trajectory]], float], least: int = 1
    ) -> Estimate | None:
        """Of one value a problem, over the problems that have enough samples."""
        return self.boot.mean([value(each) for each in self.problems if len(each) >= least])

    def mean_at(
        self, counts: Sequence[int], value: Callable[[int, Sequence[Trajectory]], float]
    ) -> dict[int, Estimate]:
        """The mean of a value that takes `k` samples, for each `k` that some problem has."""
        means = {k: self.mean(partial(value, k), least=k) for k in counts}
        return {k: mean for k, mean in means.items() if mean}


def _passing(k: int, samples: Sequence[Trajectory]) -> float:
    return pass_at_k(len(samples), sum(map(is_right, samples)), k)


def _agreed(seed: int, exact_digits: int | None, k: int, samples: Sequence[Trajectory]) -> float:
    votes = zip(answer_keys(samples, exact_digits), map(is_right, samples), strict=True)
    return majority_at_k(list(votes), k, seed)


def by_problem(rows: Sequence[Trajectory]) -> list[list[Trajectory]]:
    """What each problem's samples say of the policy, both in an order of their own.

    Problems whose gold answer cannot be verified say nothing.
    """
    groups: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.key):
        if not row.ending.is_infrastructure:
            groups[row.problem.problem_id].append(row)
    return [group for group in groups.values() if not any(row.is_unverifiable for row in group)]


def candidates(problems: Sequence[Sequence[Trajectory]], n: int) -> list[list[Trajectory]]:
    """The first `n` samples of each problem, for best-of-N; none of code tasks."""
    first = [[row for row in g if row.attempt < n and not is_code(row)] for g in problems]
    return [group for group in first if group]


def is_code(row: Trajectory) -> bool:
    """A code task, judged by its tests."""
    return row.verdict is not None and row.verdict.method == TESTS


def _average(value: Callable[[Trajectory], float], rows: Sequence[Trajectory]) -> float:
    return sum(map(value, rows)) / len(rows) if rows else 0.0


def programs(row: Trajectory) -> int:
    """Programs that were run; what the sandbox lost was not."""
    return sum(step.outcome is not Outcome.INFRA_ERROR for step in row.calls)


def failed_programs(row: Trajectory) -> int:
    """Of them, those that failed and stand in the response."""
    return programs(row) - _passed(row)


def _passed(row: Trajectory) -> int:
    return sum(step.outcome is Outcome.OK for step in row.calls)


def _corrections(row: Trajectory) -> int:
    return sum(len(step.attempts) for step in row.steps)


def _correction_tokens(row: Trajectory) -> float:
    """Sampled, but in no step: what self-correction cut away."""
    if row.program is not Program.ROLLOUT or not _corrections(row):
        return 0
    return row.cost.actor_completion_tokens - sum(row.tokens.loss_mask)
