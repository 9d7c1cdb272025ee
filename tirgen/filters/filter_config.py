"""Which filter rules are on, and their thresholds."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator

from tirgen.settings import Settings


class Rule(StrEnum):
    """Every rule, in the order in which rules are applied."""

    PROGRAM = "program"
    INFRASTRUCTURE = "infrastructure"
    VERIFIABLE = "verifiable"
    FORMAT = "format"
    UNTOUCHED = "untouched"
    FINISHED = "finished"
    BOXED = "boxed"
    CORRECT = "correct"
    USES_TOOL = "uses_tool"
    EXECUTED = "executed"
    CODE_QUALITY = "code_quality"
    DOLLAR_PARITY = "dollar_parity"
    LANGUAGE = "language"
    REPETITION = "repetition"
    LENGTH = "length"
    INTERACTION_DENSITY = "interaction_density"
    CONTAMINATED = "contaminated"
    ONE_PER_PROBLEM = "one_per_problem"
    COT_SOLVABLE = "cot_solvable"
    NEAR_DUPLICATE = "near_duplicate"
    CALL_BALANCE = "call_balance"
    DIFFICULTY_BALANCE = "difficulty_balance"


class TrajectoryMode(StrEnum):
    """The two kinds of trajectories; they differ in length by a factor of about ten."""

    NON_REASONING = "non_reasoning"
    REASONING = "reasoning"
    """The trajectory has a ``<think>`` section."""


class FilterConfig(Settings):
    """Rules that are off, and the thresholds of the others; defaults are the paper's."""

    off: tuple[Rule, ...] = ()
    """Rules not to apply. `program`, `infrastructure` and `verifiable` cannot be off: the rows that
    they drop say nothing about the policy's use of tools."""
    judge_counts: bool = True
    """`correct`: an answer that the rules call wrong counts as right if a judge says so."""
    trivial_blocks: float = Field(0.4, ge=0, le=1)
    """Largest share of trivial code blocks, rounded up to whole blocks as in the official filter.
    Unlike there, one substantial block is always required."""
    minimum_code_lines: int = Field(0, ge=0)
    """Blocks with fewer lines of code are trivial, whatever they do. 0 judges by content alone (the
    official filter asks for 6)."""
    repetition_length: int = Field(20, ge=1)
    """Length in characters of the n-gram whose repetitions are counted."""
    repetition_count: int = Field(20, ge=1)
    """Most occurrences of one n-gram in the policy's text."""
    shortest: dict[TrajectoryMode, int] = Field({})
    """`length`: fewest policy tokens by mode, e.g. ``{reasoning = 3000}`` as in the official
    filter. Default: no bound."""
    longest: dict[TrajectoryMode, int] = Field({})
    """`length`: most policy tokens by mode. Default: no bound."""
    minimum_calls: int = Field(1, ge=1)
    """`interaction_density`: fewest code calls of a trajectory. A cold start on trajectories with
    many calls leaves reinforcement learning more to explore (ASTER, arXiv 2602.01204)."""
    against: tuple[str, ...] = ()
    """`contaminated`: problem files of benchmarks that must not be trained on."""
    against_similarity: float = Field(0.5, gt=0.1, le=1)
    """Similarity from which a question counts as a benchmark's in other words, if numbers agree."""
    richest_per_problem: bool = False
    """`one_per_problem` prefers the trajectory with more code calls, and draws among equals. Off:
    it draws among all, as in the paper."""
    near_duplicate: float | None = Field(None, gt=0.1, le=1)
    """Similarity from which two problems count as one, if numbers agree. Default: not tested."""
    cot_solved_share: float = Field(1.0, gt=0, le=1)
    """Drop a problem if at least this share of its chain-of-thought samples is right."""
    cot_minimum_samples: int = Field(4, ge=1)
    """Judged chain-of-thought samples needed to drop a problem: the paper's k."""
    keep_share_by_calls: dict[int, float] = Field({1: 0.5})
    """Share of trajectories kept for each number of code calls; 1 for numbers not named."""
    keep_share_by_difficulty: dict[str, float] = Field({})
    """Share of trajectories kept for each difficulty; 1 for those not named. The name is the
    published difficulty; without one it is e.g. ``cot 1/4``, the share of right chain-of-thought
    samples."""

    @field_validator("off")
    @classmethod
    def _optional_rules(cls, off: tuple[Rule, ...]) -> tuple[Rule, ...]:
        fixed = {Rule.PROGRAM, Rule.INFRASTRUCTURE, Rule.VERIFIABLE} & set(off)
        if fixed:
            raise ValueError(f"{', '.join(sorted(fixed))} cannot be off")
        return tuple(sorted(set(off), key=list(Rule).index))

    @field_validator("keep_share_by_calls", "keep_share_by_difficulty")
    @classmethod
    def _shares(cls, shares: dict[Any, float]) -> dict[Any, float]:
        wrong = [f"{name}: {share}" for name, share in shares.items() if not 0 <= share <= 1]
        if wrong:
            raise ValueError(f"a share must be between 0 and 1, not {'; '.join(wrong)}")
        return shares

    def applies(self, rule: Rule) -> bool:
        """Whether the rule is applied: it is not off, and an optional rule has its threshold."""
        chosen = {
            Rule.LENGTH: bool(self.shortest or self.longest),
            Rule.INTERACTION_DENSITY: self.minimum_calls > 1,
            Rule.CONTAMINATED: bool(self.against),
            Rule.NEAR_DUPLICATE: self.near_duplicate is not None,
            Rule.DIFFICULTY_BALANCE: bool(self.keep_share_by_difficulty),
        }
        return rule not in self.off and chosen.get(rule, True)
