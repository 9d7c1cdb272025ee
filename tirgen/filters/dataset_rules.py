"""The rules that look beyond one trajectory; each judges the rows that all rules before it kept.

They are given all rows of one problem at a time, so that a dataset of any size can be filtered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from storage.records import Program, Trajectory
from tirgen.data.contamination import load_benchmarks
from tirgen.data.similarity import SimilarityIndex, read
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.rules import counts_as_right

Findings = Mapping[str, str | None]
"""Why a dataset rule drops a trajectory, by trajectory id; None keeps it."""


class Context(NamedTuple):
    """What the rules know besides the rows of one problem."""

    config: FilterConfig
    seed: int
    same: Mapping[str, str | None]
    """Of `near_duplicates`; empty where that rule is off."""


def _one_per_problem(rows: list[Trajectory], context: Context) -> Findings:
    """One trajectory per problem, drawn at random; optionally one with most calls (method D18)."""
    siblings = [row for row in rows if row.kept]
    if not siblings:
        return {}
    chosen = min(siblings, key=lambda row: _preference(row, context.config, context.seed))
    another = f"{chosen.trajectory_id} stands for this problem"
    return {row.trajectory_id: None if row is chosen else another for row in siblings}


def _preference(row: Trajectory, config: FilterConfig, seed: int) -> tuple[int, float]:
    calls = len(row.calls) if config.richest_per_problem else 0
    return -calls, _draw(seed, "one_per_problem", row.trajectory_id)


def _contaminated(rows: list[Trajectory], context: Context) -> Findings:
    """Problems of the named benchmarks must not be trained on."""
    benchmarks = load_benchmarks(context.config.against, context.config.against_similarity)
    questions = {row.problem.question for row in rows if row.kept}
    found = {question: benchmarks.find(question) for question in questions}
    return {
        row.trajectory_id: None if (why := found[row.problem.question]) is None else str(why)
        for row in rows
        if row.kept
    }


def near_duplicates(
    questions: Mapping[str, str], config: FilterConfig, seed: int
) -> Mapping[str, str | None]:
    """Of problems that ask the same, one drawn at random stays.

    By problem, why it does not stay; None if it does. `questions` are those of all problems.
    """
    assert config.near_duplicate is not None
    index = SimilarityIndex(config.near_duplicate)
    same: dict[str, str | None] = {}
    for name in sorted(questions, key=lambda name: _draw(seed, "near_duplicate", name)):
        text = read(questions[name])
        match = index.best(text)
        same[name] = match and f"similar {match.resemblance:.2f}: {match.name}"
        if match is None:
            index.add(name, text)
    return same


def _near_duplicate(rows: list[Trajectory], context: Context) -> Findings:
    """Of problems that ask the same, one stays."""
    return {row.trajectory_id: context.same[row.problem.problem_id] for row in rows if row.kept}


def _cot_solvable(rows: list[Trajectory], context: Context) -> Findings:
    """Problems that the policy solves without tools teach no use of tools (method A8)."""
    why = _solved_without_tools(_baselines(rows, context.config), context.config)
    return {row.trajectory_id: why for row in rows if row.kept}


def _baselines(rows: list[Trajectory], config: FilterConfig) -> list[bool]:
    """Whether each judged chain-of-thought sample of the problem is right."""
    return [
        counts_as_right(row, config)
        for row in rows
        if row.program is Program.COT and row.verdict and row.verdict.is_decided
    ]


def _solved_without_tools(samples: list[bool], config: FilterConfig) -> str | None:
    if len(samples) < config.cot_minimum_samples:
        return None
    if sum(samples) < config.cot_solved_share * len(samples):
        return None
    return f"{sum(samples)} of {len(samples)} chain-of-thought samples are right"


def _call_balance(rows: list[Trajectory], context: Context) -> Findings:
    """Down-sample by number of calls (method A9)."""
    return {
        row.trajectory_id: _thinned_out(row, context.config.keep_share_by_calls, context.seed)
        for row in rows
        if row.kept
    }


def _thinned_out(row: Trajectory, shares: Mapping[int, float], seed: int) -> str | None:
    share = shares.get(len(row.calls), 1.0)
    if _draw(seed, "call_balance", row.trajectory_id) < share:
        return None
    return f"{len(row.calls)}-call trajectories are thinned to {share:g}"


def _difficulty_balance(rows: list[Trajectory], context: Context) -> Findings:
    """Down-sample by difficulty: the publisher's, else the share of right CoT samples."""
    config, baselines = context.config, _baselines(rows, context.config)
    findings: dict[str, str | None] = {}
    for row in rows:
        if row.kept:
            level = row.problem.difficulty or _measured(baselines)
            share = config.keep_share_by_difficulty.get(level, 1.0)
            stays = _draw(context.seed, "difficulty_balance", row.trajectory_id) < share
            findings[row.trajectory_id] = None if stays else f"{level} is thinned to {share:g}"
    return findings


def _measured(samples: list[bool]) -> str:
    return f"cot {sum(samples)}/{len(samples)}"


def _draw(seed: int, purpose: str, name: str) -> float:
    """A number in [0, 1), uniform, that depends only on the arguments."""
    digest = hashlib.sha256(f"{seed}\x1f{purpose}\x1f{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


DATASET_RULES: Mapping[Rule, Callable[[list[Trajectory], Context], Findings]] = {
    Rule.CONTAMINATED: _contaminated,
    Rule.ONE_PER_PROBLEM: _one_per_problem,
    Rule.COT_SOLVABLE: _cot_solvable,
    Rule.NEAR_DUPLICATE: _near_duplicate,
    Rule.CALL_BALANCE: _call_balance,
    Rule.DIFFICULTY_BALANCE: _difficulty_balance,
}
"""In the order of application; each rule sees the rows that those before it kept."""
