"""The figures of the ablation: stages over all seeds, and the expected differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

from storage.datasets import Store
from storage.records import Trajectory
from tirgen.evaluation.best_of_n import choose
from tirgen.evaluation.estimates import Bootstrap, Estimate
from tirgen.evaluation.results import failed_programs, programs
from tirgen.evaluation.tool_statistic import ToolTable, tool_table
from tirgen.verification.verdicts import is_right

BEST_OF = "BoN@8"
CHOSEN_FROM = "T5"
NAMES = {
    "T1": "base, chain of thought",
    "T2": "+ RL on chain of thought",
    "T3": "TIR after cold start",
    "T4": "+ trajectory-level RL",
    "T4+": "T4 and as many rounds more as T5",
    "T5": "+ step-level RL, on from T4",
    "T6": "+ self-correction",
    BEST_OF: "best of 8 of T5, by execution pass rate",
}

Group = Sequence[Trajectory]
"""One seed's samples of one problem."""
Part = Callable[[Group], float]


class Samples:
    """The samples of every stage, by problem and seed, without those lost to infrastructure
    faults."""

    def __init__(self, store: Store, versions: Mapping[int, Mapping[str, str]]) -> None:
        self._groups: dict[str, dict[str, list[Group]]] = {}
        for stage in versions[min(versions)]:
            groups: defaultdict[str, list[Group]] = defaultdict(list)
            for seed in sorted(versions):
                for problem, rows in _by_problem(store, versions[seed][stage]).items():
                    groups[problem].append(rows)
            self._groups[stage] = dict(groups)
        self._groups[BEST_OF] = {
            problem: [[choose(rows, seed)] for seed, rows in enumerate(groups)]
            for problem, groups in self._groups[CHOSEN_FROM].items()
        }

    @property
    def stages(self) -> list[str]:
        return list(self._groups)

    @property
    def problems(self) -> list[str]:
        """Those that every stage answered."""
        return sorted(set.intersection(*(set(groups) for groups in self._groups.values())))

    def sums(self, stage: str, part: Part) -> list[float]:
        """Over all seeds, a value a problem."""
        return [sum(map(part, self._groups[stage][problem])) for problem in self.problems]

    def by_seed(self, stage: str, part: Part, whole: Part) -> list[float]:
        """The share of each seed alone."""
        seeds = zip(*(self._groups[stage][problem] for problem in self.problems), strict=True)
        return [sum(map(part, groups)) / sum(map(whole, groups)) for groups in seeds]


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


def stage_row(samples: Samples, stage: str) -> dict[str, Any]:
    """One line of the table; intervals are bootstraps over problems, 95 %."""
    boot = Bootstrap(seed=0)

    def estimate(part: Part, whole: Part) -> Estimate | None:
        return boot.ratio(samples.sums(stage, part), samples.sums(stage, whole))

    accuracy, ran = estimate(_right, _count), estimate(_ran, _programs)
    code, tokens = estimate(_coded, _count), estimate(_tokens, _count)
    if stage == BEST_OF:  # all candidates are paid for
        tokens = boot.ratio(samples.sums(CHOSEN_FROM, _tokens), samples.sums(stage, _count))
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


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a later stage should do better than an earlier one."""

    later: str
    earlier: str
    figure: str
    at_least: float
    """The smallest difference that meets the expectation: above 0 for a gain, below 0 for no
    real loss."""


EXPECTATIONS = (
    Expectation("T3", "T1", "accuracy", 0.2),
    Expectation("T4", "T3", "accuracy", 0.0),
    Expectation("T5", "T4", "execution_pass", 0.0),
    Expectation("T5", "T4", "accuracy", -0.01),
    Expectation("T5", "T4+", "execution_pass", 0.0),
    Expectation("T5", "T4+", "accuracy", -0.01),
    Expectation("T6", "T5", "accuracy", 0.0),
)
_FIGURES = {"accuracy": (_right, _count), "execution_pass": (_ran, _programs)}


def compare(samples: Samples, expected: Expectation) -> dict[str, Any]:
    """The paired difference of two stages over the same problems, with its interval."""
    part, whole = _FIGURES[expected.figure]
    difference = Bootstrap(seed=0).difference(
        (samples.sums(expected.later, part), samples.sums(expected.later, whole)),
        (samples.sums(expected.earlier, part), samples.sums(expected.earlier, whole)),
    )
    holds = difference.value > expected.at_least
    sure = difference.low > expected.at_least
    return {
        **asdict(expected),
        **_interval("difference", difference),
        "holds": holds,
        "sentence": (
            f"{expected.later} - {expected.earlier} in {expected.figure.replace('_', ' ')}: "
            f"{100 * difference.value:+.1f} points [{100 * difference.low:+.1f}, "
            f"{100 * difference.high:+.1f}], {_word(holds, sure)}"
        ),
    }


def _word(holds: bool, sure: bool) -> str:
    if not holds:
        return "not as expected"
    return "as expected" if sure else "as expected, but within chance"


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
