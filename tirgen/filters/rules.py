"""The rules that judge a single trajectory; `dataset_rules` has those that need all rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from storage.records import Ending, FilterVerdict, Outcome, Program, Trajectory
from tirgen.filters.code_quality import trivial_reason
from tirgen.filters.filter_config import FilterConfig, Rule, TrajectoryMode
from tirgen.filters.text import foreign_script, repeated_ngram, unbalanced_dollars
from tirgen.filters.untouched import changed_beyond_programs
from tirgen.tir.markup import strip_blocks
from tirgen.verification.verdicts import is_right

CHARACTERS_A_TOKEN = 4
"""Used where an engine did not count tokens."""

Judgement = Callable[[Trajectory, FilterConfig], str | None]
"""Why a trajectory is dropped; None keeps it."""


def accept(trajectory: Trajectory, config: FilterConfig) -> tuple[FilterVerdict, ...]:
    """The verdict of every trajectory rule that is on, in order.

    All rules are evaluated, so that SQL can show which overlap. Two exceptions: a baseline sample
    stops at `program`, since no other rule is meant for it, and a row on which tirgen failed stops
    at `infrastructure`, since a rule may be what failed.
    """
    if baseline := _program(trajectory, config):
        return (verdict_of(Rule.PROGRAM, baseline),)
    if trajectory.ending is Ending.INTERNAL_ERROR:
        return (verdict_of(Rule.PROGRAM, None), verdict_of(Rule.INFRASTRUCTURE, trajectory.error))
    return tuple(
        verdict_of(rule, judgement(trajectory, config))
        for rule, judgement in TRAJECTORY_RULES.items()
        if config.applies(rule)
    )


def verdict_of(rule: Rule, why_dropped: str | None) -> FilterVerdict:
    """The finding of a rule in the form that is stored."""
    return FilterVerdict(rule=rule.value, kept=why_dropped is None, reason=why_dropped or "")


def _program(trajectory: Trajectory, config: FilterConfig) -> str | None:
    return "baseline sample" if trajectory.program is Program.COT else None


def _infrastructure(trajectory: Trajectory, config: FilterConfig) -> str | None:
    """The machinery broke: the row says nothing about the policy (method D7)."""
    broken = trajectory.ending.is_infrastructure or trajectory.verdict is None
    if broken or any(step.outcome is Outcome.INFRA_ERROR for step in trajectory.steps):
        return trajectory.error or f"ended by {trajectory.ending}"
    return None


def _verifiable(trajectory: Trajectory, config: FilterConfig) -> str | None:
    """The gold answer cannot be verified, so the answer is neither right nor wrong."""
    if trajectory.verdict is None or not trajectory.is_unverifiable:
        return None
    return trajectory.verdict.reason


def _format(trajectory: Trajectory, config: FilterConfig) -> str | None:
    """No thought contains a program or an output, and each program has its output.

    A thinking section ends before the answer (rules 7 and 9).
    """
    if trajectory.ending is Ending.OFF_FORMAT:
        return trajectory.error or "text off the format"
    for number, step in enumerate(trajectory.steps, start=1):
        if strip_blocks(step.thought) != step.thought:
            return f"the thought of step {number} holds a block that is no step of its own"
        if step.action is not None and step.observation is None:
            return f"the program of step {number} has no output"
    if trajectory.ending is not Ending.FINISHED:
        return None  # a trajectory that was cut has no end; the rule `finished` reports that
    return _unpaired_thinking("".join(step.thought for step in trajectory.steps))


def _untouched(trajectory: Trajectory, config: FilterConfig) -> str | None:
    """The critic changed nothing except by programs (method A11).

    Without thinking, only rewritten steps have drafts. Then text that the critic added cannot be
    distinguished from the actor's next text, so only lost text is found. A rewrite that ended with
    a failed program is not judged: it lost the rest of its window to the failure.
    """
    if trajectory.ending is Ending.EXECUTION_FAILED:
        return None
    complete = _mode(trajectory) is TrajectoryMode.REASONING
    return changed_beyond_programs(trajectory.steps, complete=complete)


def _unpaired_thinking(text: str) -> str | None:
    opened, closed = text.count("<think>"), text.count("</think>")
    if opened > 1 or closed > 1 or opened > closed:
        return f"{opened} <think> and {closed} </think>"
    if closed and not text.partition("</think>")[2].strip():
        return "no answer after </think>"
    return None


def _finished(trajectory: Trajectory, config: FilterConfig) -> str | None:
    """The policy ended the trajectory itself; solved also needs a boxed answer (method A12)."""
    return None if trajectory.ending is Ending.FINISHED else f"ended by {trajectory.ending}"


def _boxed(trajectory: Trajectory, config: FilterConfig) -> str | None:
    return None if trajectory.final_answer is not None else "no boxed answer"


def counts_as_right(trajectory: Trajectory, config: FilterConfig) -> bool:
    """Right by the rules, or in a judge's opinion if opinions count (method A23)."""
    return is_right(trajectory) if config.judge_counts else trajectory.correct


def _correct(trajectory: Trajectory, config: FilterConfig) -> str | None:
    if counts_as_right(trajectory, config):
        return None
    return trajectory.verdict.reason if trajectory.verdict else "never judged"


def _uses_tool(trajectory: Trajectory, config: FilterConfig) -> str | None:
    return None if trajectory.calls else "no code was run"


def _executed(trajectory: Trajectory, config: FilterConfig) -> str | None:
    """Every program ran to its end and printed something; no output is a failure (method A16)."""
    failed = [step.outcome for step in trajectory.calls if step.outcome is not Outcome.OK]
    if not failed:
        return None
    names = ", ".join(sorted({str(outcome) for outcome in failed}))
    return f"{len(failed)} of {len(trajectory.calls)} calls failed: {names}"


def _code_quality(trajectory: Trajectory, config: FilterConfig) -> str | None:
    blocks = [step.action for step in trajectory.calls if step.action is not None]
    if not blocks:
        return None
    return trivial_reason(blocks, config.trivial_blocks, config.minimum_code_lines)


def _dollar_parity(trajectory: Trajectory, config: FilterConfig) -> str | None:
    return unbalanced_dollars("\n".join(step.thought for step in trajectory.steps))


def _language(trajectory: Trajectory, config: FilterConfig) -> str | None:
    return foreign_script(trajectory.problem.question, _written(trajectory))


def _repetition(trajectory: Trajectory, config: FilterConfig) -> str | None:
    text = _written(trajectory)
    return repeated_ngram(text, config.repetition_length, config.repetition_count)


def _length(trajectory: Trajectory, config: FilterConfig) -> str | None:
    """The policy's tokens are within the bounds of the mode (rule 3)."""
    mode, written = _mode(trajectory), _tokens(trajectory)
    least, most = config.shortest.get(mode, 0), config.longest.get(mode, written)
    if least <= written <= most:
        return None
    bound = f"fewer than {least}" if written < least else f"more than {most}"
    return f"{written} tokens in {mode} mode, {bound}"


def _mode(trajectory: Trajectory) -> TrajectoryMode:
    # One mark is enough: some templates open the section in the prompt; not every policy closes it.
    marks = ("<think>", "</think>")
    thinks = any(mark in step.thought for step in trajectory.steps for mark in marks)
    return TrajectoryMode.REASONING if thinks else TrajectoryMode.NON_REASONING


def _tokens(trajectory: Trajectory) -> int:
    counted = sum(step.policy_tokens for step in trajectory.steps)
    return counted or len(_written(trajectory)) // CHARACTERS_A_TOKEN


def _interaction_density(trajectory: Trajectory, config: FilterConfig) -> str | None:
    calls = len(trajectory.calls)
    return f"{calls} calls" if calls < config.minimum_calls else None


def _written(trajectory: Trajectory) -> str:
    """The policy's text: thoughts and code, not outputs."""
    return "\n".join(f"{step.thought}\n{step.action or ''}" for step in trajectory.steps)


TRAJECTORY_RULES: Mapping[Rule, Judgement] = {
    Rule.PROGRAM: _program,
    Rule.INFRASTRUCTURE: _infrastructure,
    Rule.VERIFIABLE: _verifiable,
    Rule.FORMAT: _format,
    Rule.UNTOUCHED: _untouched,
    Rule.FINISHED: _finished,
    Rule.BOXED: _boxed,
    Rule.CORRECT: _correct,
    Rule.USES_TOOL: _uses_tool,
    Rule.EXECUTED: _executed,
    Rule.CODE_QUALITY: _code_quality,
    Rule.DOLLAR_PARITY: _dollar_parity,
    Rule.LANGUAGE: _language,
    Rule.REPETITION: _repetition,
    Rule.LENGTH: _length,
    Rule.INTERACTION_DENSITY: _interaction_density,
}
