"""Which filter rules are on, and their thresholds."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Rule(StrEnum):
    """Every rule, in the order in which a trajectory meets them."""

    PROGRAM = "program"
    INFRASTRUCTURE = "infrastructure"
    FINISHED = "finished"
    BOXED = "boxed"
    CORRECT = "correct"
    USES_TOOL = "uses_tool"
    EXECUTED = "executed"
    CODE_QUALITY = "code_quality"
    DOLLAR_PARITY = "dollar_parity"
    LANGUAGE = "language"
    REPETITION = "repetition"
    ONE_PER_PROBLEM = "one_per_problem"
    COT_SOLVABLE = "cot_solvable"
    CALL_BALANCE = "call_balance"


class FilterConfig(BaseModel):
    """Rules that are off and the thresholds of those that are on; defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    off: tuple[Rule, ...] = ()
    """Rules not to apply. `program` and `infrastructure` cannot be off: what they drop is no
    sample of the policy's tool use."""
    trivial_blocks: float = Field(0.4, ge=0, le=1)
    """Largest share of trivial code blocks, rounded up to whole blocks as in the official filter;
    unlike there, one substantial block is always required (spec §3.2, D18)."""
    minimum_code_lines: int = Field(0, ge=0)
    """Blocks with fewer lines of code are trivial whatever they do; 0 judges by content alone
    (A10; the official filter asks for 6)."""
    repetition_length: int = Field(20, ge=1)
    """Characters of the n-gram whose repetition is counted."""
    repetition_count: int = Field(20, ge=1)
    """Most occurrences of one n-gram in what the policy wrote."""
    cot_solved_share: float = Field(1.0, gt=0, le=1)
    """A problem is dropped if at least this share of its chain-of-thought samples is right (A8)."""
    cot_minimum_samples: int = Field(1, ge=1)
    """Judged chain-of-thought samples needed before a problem may be dropped."""
    keep_share_by_calls: dict[int, float] = {1: 0.5}
    """Share of trajectories kept for each number of code calls; 1 where not named (A9)."""

    @field_validator("off")
    @classmethod
    def _optional_rules(cls, off: tuple[Rule, ...]) -> tuple[Rule, ...]:
        fixed = {Rule.PROGRAM, Rule.INFRASTRUCTURE} & set(off)
        if fixed:
            raise ValueError(f"{', '.join(sorted(fixed))} cannot be off")
        return tuple(sorted(set(off), key=list(Rule).index))

    @field_validator("keep_share_by_calls")
    @classmethod
    def _shares(cls, shares: dict[int, float]) -> dict[int, float]:
        wrong = [f"{calls}: {share}" for calls, share in shares.items() if not 0 <= share <= 1]
        if wrong:
            raise ValueError(f"a share lies between 0 and 1, not {'; '.join(wrong)}")
        return shares

    def applies(self, rule: Rule) -> bool:
        return rule not in self.off
