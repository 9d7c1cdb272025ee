"""The figures of the ablation: stages over all seeds, and the expected differences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import product
from operator import mul
from typing import Any

from storage.datasets import Store
from storage.records import Trajectory
from tirgen.evaluation.best_of_n import choose
from tirgen.evaluation.estimates import Bootstrap, Estimate, SeedRatio
from tirgen.evaluation.results import failed_programs, programs
from tirgen.evaluation.tool_statistic import ToolTable, tool_table
from tirgen.verification.verdicts import is_right

BEST_OF = "BoN"
CHOSEN_FROM = "T5"
NAMES = {
    "T1": "base, chain of thought",
    "T2": "+ RL on chain of thought",
    "T3": "TIR after cold start",
    "T4": "+ trajectory-level RL",
    "T4+": "T4 and as many rounds more as T5",
    "T5": "+ step-level RL, on from T4",
    "T6": "+ self-correction",
    BEST_OF: "best of the samples of T5, by execution pass rate",
}

Group = Sequence[Trajectory]
"""One seed's samples of one problem."""
Part = Callable[[Group], float]


class Samples:
    """The samples of every stage, by problem and seed, without those lost to infrastructure
    faults."""

    def __init__(self, store: Store, versions: Mapping[int, Mapping[str, str]]) -> None:
        self._groups: dict[str, list[Mapping[str, Group]]] = {
            stage: [_by_problem(store, versions[seed][stage]) for seed in sorted(versions)]
            for stage in versions[min(versions)]
        }
        self._groups[BEST_OF] = [
            {problem: [choose(rows, seed)] for problem, rows in groups.items()}
            for seed, groups in enumerate(self._groups[CHOSEN_FROM])
        ]

    @property
    def stages(self) -> list[str]:
        return list(self._groups)

    @property
    def problems(self) -> list[str]:
        """Those that every stage of some seed answered."""
        found = (set().union(*groups) for groups in self._groups.values())
        return sorted(set.intersection(*found))

    def ratio(
        self, stage: str, part: Part, whole: Part, among: Callable[[str], bool] = lambda name: True
    ) -> SeedRatio:
        """Both parts by seed and problem, of the problems whose id is `among` those asked for."""
        problems = [problem for problem in self.problems if among(problem)]

        def table(one: Part) -> list[list[float]]:
            return [
                [one(groups.get(problem, ())) for problem in problems]
                for groups in self._groups[stage]
            ]

        return table(part), table(whole)

    def by_seed(self, stage: str, part: Part, whole: Part) -> list[float]:
        """The share of each seed alone."""
        parts, wholes = self.ratio(stage, part, whole)
        return [sum(one) / sum(all_) for one, all_ in zip(parts, wholes, strict=True)]


def _by_problem(store: Store, version: str) -> Mapping[str, Group]:
    groups: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for row in store.version(version).read():
        if not row.ending.is_infrastructure:
            groups[row.problem.problem_id].append(row)
    return dict(groups)


def _right(group: Group) -> float:
    return sum(map(is_right, group))


def _count(group: Group) -> float:
    return len(group)


def _programs(group: Group) -> float:
    return sum(map(programs, group))


def _ran(group: Group) -> float:
    return sum(programs(row) - failed_programs(row) for row in group)


def _coded(group: Group) -> float:
    return sum(bool(programs(row)) for row in group)


def _tokens(group: Group) -> float:
    return sum(row.cost.actor_completion_tokens for row in group)


def stage_row(
    samples: Samples, stage: str, among: Callable[[str], bool] = lambda name: True
) -> dict[str, Any]:
    """One line of the table; intervals are bootstraps over seeds and problems, 95 %."""
    boot = Bootstrap(seed=0)

    def estimate(part: Part, whole: Part) -> Estimate | None:
        return boot.over_seeds(samples.ratio(stage, part, whole, among))

    accuracy, ran = estimate(_right, _count), estimate(_ran, _programs)
    code, tokens = estimate(_coded, _count), estimate(_tokens, _count)
    if stage == BEST_OF:  # all candidates are paid for
        paid, _ = samples.ratio(CHOSEN_FROM, _tokens, _count, among)
        _, answers = samples.ratio(stage, _tokens, _count, among)
        tokens = boot.over_seeds((paid, answers))
    assert accuracy is not None
    return {
        "stage": stage,
        "name": NAMES[stage],
        **_interval("accuracy", accuracy),
        "accuracy_by_seed": [round(x, 4) for x in samples.by_seed(stage, _right, _count)],
        **_interval("execution_pass", ran),
        **_interval("code_ratio", code),
        **_interval("tokens_per_sample", tokens),
    }


def _interval(name: str, found: Estimate | None) -> dict[str, float | None]:
    values = (found.value, found.low, found.high) if found else (None, None, None)
    suffixes = ("", "_low", "_high")
    return {
        f"{name}{suffix}": None if value is None else round(value, 4)
        for suffix, value in zip(suffixes, values, strict=True)
    }


def by_failure(samples: Samples, stage: str) -> dict[str, float | None]:
    """What a failed program costs: the share of answers with one, and how many of these, and of the
    others with programs, are right."""

    def share(part: Part, whole: Part) -> float | None:
        parts, wholes = samples.ratio(stage, part, whole)
        total = sum(map(sum, wholes))
        return round(sum(map(sum, parts)) / total, 4) if total else None

    def failed(group: Group) -> float:
        return sum(bool(failed_programs(row)) for row in group)

    def ran(group: Group) -> float:
        return _coded(group) - failed(group)

    def right_failed(group: Group) -> float:
        return sum(is_right(row) and bool(failed_programs(row)) for row in group)

    def right_ran(group: Group) -> float:
        return sum(
            is_right(row) and bool(programs(row)) and not failed_programs(row) for row in group
        )

    return {
        "failed": share(failed, _count),
        "right_failed": share(right_failed, failed),
        "right_ran": share(right_ran, ran),
    }


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a later stage should do better than an earlier one, and what it does in the paper."""

    later: str
    earlier: str
    figure: str
    at_least: float
    """The difference must be above this margin."""
    paper: float | None = None
    """The same difference in the paper's Table 3, 7B, in points; None where it has none."""


EXPECTATIONS = (
    Expectation("T2", "T1", "accuracy", 0.0, 16.7),
    Expectation("T3", "T1", "accuracy", 0.2, 11.0),
    Expectation("T4", "T3", "accuracy", 0.0, 22.4),
    Expectation("T5", "T4", "execution_pass", 0.0),
    Expectation("T5", "T4", "accuracy", 0.0, 1.6),
    Expectation("T5", "T4+", "execution_pass", 0.0),
    Expectation("T5", "T4+", "accuracy", 0.0),
    Expectation("T6", "T5", "accuracy", 0.0, 1.5),
)
_FIGURES = {"accuracy": (_right, _count), "execution_pass": (_ran, _programs)}


def compare(samples: Samples, expected: Expectation) -> dict[str, Any]:
    """The paired difference of two stages over the same seeds and problems, with its interval."""
    part, whole = _FIGURES[expected.figure]
    later, earlier = (
        samples.ratio(stage, part, whole) for stage in (expected.later, expected.earlier)
    )
    difference = Bootstrap(seed=0).difference_over_seeds(later, earlier)
    seeds = zip(
        samples.by_seed(expected.later, part, whole),
        samples.by_seed(expected.earlier, part, whole),
        strict=True,
    )
    return {
        **asdict(expected),
        **_interval("difference", difference),
        "by_seed": [round(one - other, 4) for one, other in seeds],
        "holds": difference.value > expected.at_least,
        "clear": difference.low > expected.at_least,
    }


def sentence(found: Mapping[str, Any]) -> str:
    """One comparison in words, with its margin and the paper's figure."""
    value, low, high = (100 * found[f"difference{suffix}"] for suffix in ("", "_low", "_high"))
    margin = f"expected above {100 * found['at_least']:+g}"
    paper = "" if found["paper"] is None else f"; the paper has {found['paper']:+g}"
    return (
        f"{found['later']} - {found['earlier']} in {found['figure'].replace('_', ' ')}: "
        f"{value:+.1f} points [{low:+.1f}, {high:+.1f}], {margin}: {_word(found)}{paper}"
    )


def _word(found: Mapping[str, Any]) -> str:
    if found["clear"]:
        return "clear"
    return "met, but within chance" if found["holds"] else "not met"


def power(difference: Mapping[str, Any]) -> dict[str, float]:
    """What the experiment could have seen, in shares, from the interval of a difference.

    `standard_error` is the interval's width over 3.92; a true difference of `detectable`, 2.8
    standard errors, has an interval clear of zero in four of five such experiments.
    `chance` is the exact two-sided p of the seeds alone: the share of all signs that could be given
    to their differences in which the mean is as far from zero as it is.
    """
    error = (difference["difference_high"] - difference["difference_low"]) / 3.92
    seeds = difference["by_seed"]
    means = [abs(sum(map(mul, signs, seeds))) for signs in product((1, -1), repeat=len(seeds))]
    as_far = sum(mean >= abs(sum(seeds)) - 1e-12 for mean in means)
    return {
        "standard_error": round(error, 4),
        "detectable": round(2.8 * error, 4),
        "chance": round(as_far / len(means), 4),
    }


def rounds(store: Store, name: str, seeds: Iterable[int]) -> dict[str, float]:
    """Of the rounds with this name, over all seeds: groups sampled, mixed ones, rows to learn from,
    by level."""
    found: Counter[str] = Counter()
    for seed in seeds:
        for version in store.versions(f"{name}-{seed}-rollouts"):
            for level, counts in version.manifest["summary"]["levels"].items():
                for what in ("groups", "mixed", "kept_rows"):
                    found[f"{level}_{what}"] += counts[what]
    return dict(found)


def tool_statistic(store: Store, versions: Mapping[int, Mapping[str, str]]) -> dict[str, Any]:
    """Is an answer more often right when all of its code ran? Over T3 of all seeds (method E12)."""
    tables = [tool_table(store, store.version(stages["T3"])) for stages in versions.values()]
    table = ToolTable(
        **{
            name: sum(getattr(each, name) for each in tables)
            for name in ("right_ran", "right_failed", "wrong_ran", "wrong_failed")
        }
    )
    return {
        **asdict(table),
        "answers": sum(astuple(table)),
        "accuracy_all_ran": table.accuracy_all_ran,
        "accuracy_some_failed": table.accuracy_some_failed,
        "chi_square": table.chi_square,
        "p_value": table.p_value,
    }
