"""Applies every rule to all rows of a run, and counts what each rule dropped.

Pure and deterministic: verdicts depend on the rows, the configuration and the seed, not on the
order of the rows. So stored trajectories can be filtered again without inference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, takewhile

from storage.records import BASELINE_RULE, Trajectory, Verdicts
from tirgen.filters.dataset_rules import DATASET_RULES, Context, Findings, near_duplicates
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.rules import accept, verdict_of


@dataclass(frozen=True, slots=True)
class YieldRow:
    """How many rows reached a rule, and how many it dropped."""

    rule: str
    entered: int
    dropped: int
    """Rows that this rule was the first to drop."""
    kept: int


def filter_rows(
    trajectories: Iterable[Trajectory], config: FilterConfig, seed: int
) -> list[Trajectory]:
    """All rows, kept and dropped, in their order, with the verdicts of every rule that is on.

    Earlier verdicts are replaced. A dataset rule judges only the rows that all rules before it
    kept, so only those have its verdict.
    """
    rows = list(trajectories)
    together = sorted(rows, key=_problem)
    filters = {id(row): made for row, made in Filtering(lambda: together, config, seed).pairs()}
    return [filters[id(row)] for row in rows]


Read = Callable[[], Iterable[Trajectory]]
"""Returns the same rows each time it is called, those of a problem one after the other."""


class Filtering:
    """Applies every rule to rows that are read problem by problem, and counts.

    Only the rows of one problem are in memory; where near-duplicates are searched for, so are the
    questions of all problems, and the rows are read twice. The counts are those of the rows that
    `rows` has returned so far.
    """

    def __init__(self, read: Read, config: FilterConfig, seed: int) -> None:
        self.count = 0
        self.problems = 0
        self.kept = 0
        self._yields = YieldCount()
        self._read = read
        self._config = config
        self._seed = seed

    @property
    def yields(self) -> list[YieldRow]:
        return self._yields.table()

    def rows(self) -> Iterator[Trajectory]:
        """All rows, kept and dropped, in their order, with the verdicts of every rule."""
        for _, row in self.pairs():
            yield row

    def pairs(self) -> Iterator[tuple[Trajectory, Trajectory]]:
        """Each row as it was read and with its new verdicts."""
        context = Context(self._config, self._seed, {})
        if self._config.applies(Rule.NEAR_DUPLICATE):
            questions = self._questions(context)
            context = context._replace(same=near_duplicates(questions, self._config, self._seed))
        for _, group in groupby(self._read(), _problem):
            before = list(group)
            after = _judged(before, DATASET_RULES, context)
            self.problems += 1
            for row in after:
                self.count += 1
                self.kept += row.kept
                self._yields.add(row)
            yield from zip(before, after, strict=True)

    def _questions(self, context: Context) -> dict[str, str]:
        """By problem, the questions that are left where near-duplicates are searched for."""
        rules = list(takewhile(lambda rule: rule is not Rule.NEAR_DUPLICATE, DATASET_RULES))
        questions: dict[str, str] = {}
        for name, group in groupby(self._read(), _problem):
            if kept := [row for row in _judged(group, rules, context) if row.kept]:
                questions[name] = kept[-1].problem.question
        return questions


def _judged(
    rows: Iterable[Trajectory], rules: Iterable[Rule], context: Context
) -> list[Trajectory]:
    """All rows of a problem with the verdicts of the rules on one trajectory and of `rules`."""
    judged = [replace(row, filters=accept(row, context.config)) for row in rows]
    for rule in rules:
        if context.config.applies(rule):
            findings = DATASET_RULES[rule](judged, context)
            judged = [_with_finding(row, rule, findings) for row in judged]
    return judged


def _problem(row: Trajectory) -> str:
    return row.problem.problem_id


class YieldCount:
    """Counts rows from raw to kept, rule by rule; a dropped row counts at the first that drops it.

    Baselines are not counted. The view `yields` of the store has the same numbers.
    """

    def __init__(self) -> None:
        self._total = 0
        self._dropped: dict[str, int] = {}

    def add(self, row: Trajectory | Verdicts) -> None:
        if row.is_baseline:
            return
        self._total += 1
        for verdict in row.filters:
            if verdict.rule != BASELINE_RULE:
                self._dropped.setdefault(verdict.rule, 0)
        first = next((verdict.rule for verdict in row.filters if not verdict.kept), None)
        if first is not None:
            self._dropped[first] += 1

    def table(self) -> list[YieldRow]:
        """The rules in their order."""
        order = {rule.value: place for place, rule in enumerate(Rule)}
        left, table = self._total, list[YieldRow]()
        for rule in sorted(self._dropped, key=lambda name: (order.get(name, len(order)), name)):
            dropped = self._dropped[rule]
            table.append(YieldRow(rule, left, dropped, left - dropped))
            left -= dropped
        return table


def yield_table(rows: Iterable[Trajectory | Verdicts]) -> list[YieldRow]:
    """The counts of all these rows."""
    count = YieldCount()
    for row in rows:
        count.add(row)
    return count.table()


def _with_finding(row: Trajectory, rule: Rule, findings: Findings) -> Trajectory:
    if row.trajectory_id not in findings:
        return row
    verdict = verdict_of(rule, findings[row.trajectory_id])
    return replace(row, filters=(*row.filters, verdict))
