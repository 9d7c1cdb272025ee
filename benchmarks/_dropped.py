"""For every filter rule, a trajectory that it dropped, from the runs where there is one.

A rule that is off by default is applied to the same rows with the setting that is named. A rule
that dropped nothing is shown on a kept row with one change, which is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from storage.records import Ending, Program, Step, Trajectory
from tirgen.filters.apply import filter_rows
from tirgen.filters.filter_config import FilterConfig, Rule, TrajectoryMode
from tirgen.verification import verify

SHOWN = 80
"""Characters of an excerpt."""
Change = Callable[[Trajectory], list[Trajectory]]
"""From a kept row to rows of which the rule drops one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """One trajectory and the rule that dropped it."""

    rule: str
    trajectory_id: str
    dataset: str
    evidence: str
    """``run``: dropped in the run; ``setting``: by the rule with the setting that is named;
    ``constructed``: with the change that is named."""
    how: str
    """The setting or the change; empty for a row of the run."""
    reason: str
    excerpt: str


def demonstrations(datasets: Sequence[list[Trajectory]], folder: Path) -> list[dict[str, Any]]:
    """One for each rule, in their order; `folder` takes a benchmark file made of questions.

    The datasets take turns, so that each shows some.
    """
    found: list[Dropped] = []
    for rule in Rule:
        datasets = [*datasets[1:], datasets[0]]
        candidates = chain(_in_runs(rule, datasets), _by_setting(rule, datasets, folder))
        found += islice(chain(candidates, _constructed(rule, datasets)), 1)
    return [asdict(dropped) for dropped in found]


def _in_runs(rule: Rule, datasets: Sequence[list[Trajectory]]) -> Iterator[Dropped]:
    """Rows that this rule was first to drop, then those that another dropped before."""
    for rows in datasets:
        yield from _dropped(rule, rows, "run", "")
    for rows in datasets:
        yield from _dropped(rule, rows, "run", "dropped by another rule before", first=False)


def _by_setting(
    rule: Rule, datasets: Sequence[list[Trajectory]], folder: Path
) -> Iterator[Dropped]:
    settings = _settings(rule, datasets, folder)
    if settings:
        how = json.dumps(settings).replace(f"{folder}/", "")
        config = FilterConfig.model_validate(settings)
        for rows in datasets:
            kept = [row for row in rows if row.kept]
            yield from _dropped(rule, filter_rows(kept, config, seed=0), "setting", how)


def _settings(rule: Rule, datasets: Sequence[list[Trajectory]], folder: Path) -> Mapping[str, Any]:
    if rule is Rule.CONTAMINATED:
        return {"against": (str(_benchmark(datasets, folder)),)}
    optional: dict[Rule, Mapping[str, Any]] = {
        Rule.LENGTH: {
            "shortest": {TrajectoryMode.REASONING: 200, TrajectoryMode.NON_REASONING: 60}
        },
        Rule.INTERACTION_DENSITY: {"minimum_calls": 3},
        Rule.NEAR_DUPLICATE: {"near_duplicate": 0.6},
        Rule.DIFFICULTY_BALANCE: {"keep_share_by_difficulty": {"level 1": 0.3}},
    }
    return optional.get(rule, {})


def _benchmark(datasets: Sequence[list[Trajectory]], folder: Path) -> Path:
    """A benchmark file with one problem of each run."""
    kept = [next(row.problem for row in rows if row.kept) for rows in datasets]
    file = folder / "benchmark.jsonl"
    lines = [json.dumps({"id": p.problem_id, "question": p.question, "answer": p.answer})
             for p in kept]  # fmt: skip
    file.write_text("\n".join(lines), "utf-8")
    return file


def _constructed(rule: Rule, datasets: Sequence[list[Trajectory]]) -> Iterator[Dropped]:
    if rule in CHANGES:
        how, change = CHANGES[rule]
        sound = next(row for rows in datasets for row in rows if row.kept)
        rows = filter_rows(change(sound), FilterConfig(), seed=0)
        yield from _dropped(rule, rows, "constructed", how, first=False)


def _dropped(
    rule: Rule, rows: list[Trajectory], evidence: str, how: str, *, first: bool = True
) -> Iterator[Dropped]:
    """The rows that this rule drops; with `first` those that no rule dropped before."""
    for row in rows:
        verdicts = [verdict for verdict in row.filters if not verdict.kept]
        for verdict in verdicts[:1] if first else verdicts:
            if verdict.rule == rule:
                yield Dropped(
                    rule=rule.value,
                    trajectory_id=row.trajectory_id,
                    dataset=row.dataset,
                    evidence=evidence,
                    how=how,
                    reason=verdict.reason,
                    excerpt=_excerpt(rule, row),
                )


def _excerpt(rule: Rule, row: Trajectory) -> str:
    """The part to look at: the code, the question, or the end of the text."""
    about_code = {Rule.CODE_QUALITY, Rule.EXECUTED, Rule.INTERACTION_DENSITY}
    about_problem = {Rule.CONTAMINATED, Rule.NEAR_DUPLICATE, Rule.COT_SOLVABLE,
                     Rule.DIFFICULTY_BALANCE, Rule.ONE_PER_PROBLEM}  # fmt: skip
    if rule in about_problem:
        text = row.problem.question
    elif rule is Rule.UNTOUCHED:
        text = next(step.draft for step in row.steps if step.draft) or ""
    elif rule in about_code or row.ending is Ending.EXECUTION_FAILED:
        last = row.calls[-1]
        text = f"{last.action}\n→ {last.observation}"
    else:
        text = row.steps[-1].thought if row.steps else row.problem.question
    return text if len(text) <= SHOWN else f"… {text[-SHOWN:]}"


def _with(**fields: Any) -> Change:
    return lambda row: [replace(row, **fields)]


def _says(addition: str) -> Change:
    def change(row: Trajectory) -> list[Trajectory]:
        *before, last = row.steps
        return [replace(row, steps=(*before, replace(last, thought=last.thought + addition)))]

    return change


def _drafted(addition: str) -> Change:
    def change(row: Trajectory) -> list[Trajectory]:
        drafts = [f"{addition} {step.draft}" if step.draft else None for step in row.steps]
        pairs = zip(row.steps, drafts, strict=True)
        return [replace(row, steps=tuple(replace(step, draft=draft) for step, draft in pairs))]

    return change


def _beside(**fields: Any) -> Change:
    return lambda row: [row, replace(row, trajectory_id=f"{row.trajectory_id}-2", **fields)]


CHANGES: Mapping[Rule, tuple[str, Change]] = {
    Rule.INFRASTRUCTURE: (
        "its engine was lost",
        _with(ending=Ending.ENGINE_ERROR, error="connection refused", verdict=None),
    ),
    Rule.VERIFIABLE: ("its gold answer taken away", _with(verdict=verify("", "\\boxed{7}"))),
    Rule.FORMAT: ("a program in a thought", _says("\n```python\nprint(1)\n```\n")),
    Rule.UNTOUCHED: ("a sentence of its drafts lost", _drafted("Let me see.")),
    Rule.BOXED: ("its box taken away", _with(final_answer=None)),
    Rule.USES_TOOL: (
        "its programs taken away",
        _with(steps=(Step(thought="So it is.", policy_tokens=4),)),
    ),
    Rule.DOLLAR_PARITY: ("formulas that are not closed", _says(" $x$ and $y.")),
    Rule.LANGUAGE: ("a slip into another language", _says(" 所以答案是对的。")),
    Rule.REPETITION: ("a sentence said over and over", _says(" Let me check this again." * 25)),
    Rule.ONE_PER_PROBLEM: ("a second attempt, kept as well", _beside(attempt=9)),
    Rule.COT_SOLVABLE: ("a right answer without tools beside it", _beside(program=Program.COT)),
}
"""A change to a kept row, after which the rule drops a row.

A run keeps one attempt per problem, so `one_per_problem` acts on mixed datasets only.
"""
