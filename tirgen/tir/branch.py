"""Step-level branches: a failed step, sampled again from inside its thought (method E7).

    pref(tau, t) = (q, H^{1:t-1}, r_pre^t)                                                  (6)

The thought of a failed action is split, `r^t = r_pre^t (+) r_suf^t`. After the prefix the policy
samples one suffix and one action, which is rewarded if it ran (`Trajectory.reward`). The prefix is
taken from the stored token ids, never from the text. It ends inside one thought, so an output
before it is never cut (method A7, D9). Only sampled tokens follow it: no end of turn (method D10)
and no observation.

Not covered: which steps are chosen (`tirgen.jobs.branch`), and the groups (`storage.groups`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, compress, count

from storage.records import Ending, Level, Problem, Program, Trajectory
from tirgen.engine.protocol import Renderer
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Loop, Sampler, run_code
from tirgen.tir.markup import action_start
from tirgen.tir.observation import observe
from tirgen.tir.programs import Bounds
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.rollout import last_ending, write_step
from tirgen.tir.transcript import split_thought


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStep:
    """A place where branches can start."""

    trajectory_id: str
    problem: Problem
    attempt: int
    """Number of the trajectory among those of its problem."""
    step: int
    """Counted from 1, as in the view `steps`."""

    @property
    def group_id(self) -> str:
        """Names the prefix; its branches are compared with one another."""
        return f"{self.trajectory_id}/{self.step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """`pref(tau, t)` in the tokens that the engine saw."""

    token_ids: tuple[int, ...]
    """Prompt, history and `r_pre`."""
    kept: str
    """`r_pre` as text."""


def failed_steps(trajectory: Trajectory) -> Iterator[FailedStep]:
    """Every step of a policy's rollout that failed because of its code."""
    own = trajectory.program is Program.ROLLOUT and trajectory.level is Level.TRAJECTORY
    if not own or trajectory.ending.is_infrastructure:
        return
    for number, step in enumerate(trajectory.steps, 1):
        if step.outcome is not None and step.outcome.is_code_failure:
            yield FailedStep(
                trajectory_id=trajectory.trajectory_id,
                problem=trajectory.problem,
                attempt=trajectory.attempt,
                step=number,
            )


def step_span(trajectory: Trajectory, step: int) -> tuple[int, int]:
    """Where the tokens of a step's thought and action begin and end in the stored stream.

    Raises ValueError for rows without token ids, which chat endpoints produce.
    """
    stream = trajectory.tokens
    if not stream.token_ids:
        raise ValueError(f"{trajectory.trajectory_id} has no token ids to branch from")
    written = list(compress(count(), stream.loss_mask))
    ends = list(accumulate(each.policy_tokens for each in trajectory.steps))
    first = ends[step - 1] - trajectory.steps[step - 1].policy_tokens
    return written[first], written[ends[step - 1] - 1] + 1


def split(trajectory: Trajectory, step: int, renderer: Renderer, suffix_tokens: int) -> Prefix:
    """The prefix of a step that ran code, `suffix_tokens` (L_suf) tokens before its action."""
    start, end = step_span(trajectory, step)
    ids = trajectory.tokens.token_ids
    step_ids = ids[start:end]
    size = split_thought(renderer, step_ids, action_start(renderer.decode(step_ids)), suffix_tokens)
    return Prefix(token_ids=ids[: start + size], kept=renderer.decode(step_ids[:size]))


def branch(
    builder: TrajectoryBuilder, policy: Sampler, prefix: Prefix, bounds: Bounds, tools: ToolPolicy
) -> Loop[Ending]:
    """Sample one suffix and one action after the prefix, and run it: `bounds.tool_rounds` is 1.

    `builder` must continue `prefix` (`Transcript.after`). Its single step has no action where the
    policy wrote no program; such a sample has no reward (method A17).
    """
    step = yield from write_step(builder, policy, bounds, prefix.kept)
    suffix = step.text[len(prefix.kept) : max(step.thought_length, len(prefix.kept))]
    tokens = builder.transcript.policy_tokens(len(prefix.token_ids))
    builder.add_thought(suffix, tokens=tokens, seconds=step.seconds)
    if step.code is None:
        return last_ending(step)
    execution = yield from run_code(step.code)
    observation = observe(execution, tools.limits, tools.observation_characters)
    builder.add_action(step.code, observation, execution.outcome, execution.wall_ms / 1000)
    return Ending.FINISHED if execution.outcome.passed else Ending.EXECUTION_FAILED
