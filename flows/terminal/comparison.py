"""Two attempts at one problem beside each other: facts and steps, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, Final, Literal, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from flows.terminal.differences import Segment, differences
from flows.terminal.failures import USAGE, FlowError
from storage.records import Step, Trajectory
from storage.text import safe_text, visible

NARROW: Final = 100
"""Below this many columns the two are shown one below the other."""


class NotComparable(FlowError):
    """The two trajectories are about different problems."""

    kind = "usage"
    code = USAGE


class Fact(NamedTuple):
    """One line of both."""

    name: str
    left: str
    right: str

    @property
    def same(self) -> bool:
        return self.left == self.right


class ComparedPart(NamedTuple):
    """One part of a step of both; None where a step has none."""

    name: Literal["thought", "code", "output"]
    left: str | None
    right: str | None

    def runs(self, side: Literal["left", "right"]) -> list[Segment]:
        """The text of one side, in runs that the other side has or has not."""
        if self.left is None or self.right is None:
            text = self.left if side == "left" else self.right
            return [Segment("kept", visible(text))] if text is not None else []
        other = "in" if side == "left" else "out"
        found = differences(visible(self.left), visible(self.right))
        return [run for run in found if run.kind != other]


@dataclass(frozen=True, slots=True)
class StepPair:
    """The steps with one number."""

    number: int
    left: Step | None
    right: Step | None

    @property
    def same(self) -> bool:
        """Thought, code, output and outcome are alike; tokens and seconds may differ."""
        return _content(self.left) == _content(self.right)

    @property
    def parts(self) -> list[ComparedPart]:
        one, other = _content(self.left), _content(self.right)
        names: tuple[Literal["thought", "code", "output"], ...] = ("thought", "code", "output")
        found = [ComparedPart(*each) for each in zip(names, one[:3], other[:3], strict=True)]
        return [part for part in found if part.left is not None or part.right is not None]


@dataclass(frozen=True, slots=True)
class TrajectoryComparison:
    """Two trajectories of one problem."""

    left: Trajectory
    right: Trajectory

    def __post_init__(self) -> None:
        if self.left.problem.question != self.right.problem.question:
            raise NotComparable(
                f"{self.left.trajectory_id} and {self.right.trajectory_id} answer different "
                "questions",
                "attempts at one problem: tirgen traj list --where \"problem_id = '...'\"",
            )

    @property
    def facts(self) -> list[Fact]:
        left, right = _facts(self.left), _facts(self.right)
        return [Fact(name, left[name], right[name]) for name in left]

    @property
    def steps(self) -> list[StepPair]:
        pairs = zip_longest(self.left.steps, self.right.steps)
        return [StepPair(number, *pair) for number, pair in enumerate(pairs, start=1)]

    @property
    def parted(self) -> str:
        """Where the two part, in a sentence."""
        first = next((pair.number for pair in self.steps if not pair.same), None)
        if first is None:
            return "All steps are the same."
        return f"They part at step {first} of {len(self.left.steps)} and {len(self.right.steps)}."

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "problem_id": self.left.problem.problem_id,
            "left": self.left.trajectory_id,
            "right": self.right.trajectory_id,
            "facts": [fact._asdict() for fact in self.facts],
            "steps": [{**asdict(pair), "same": pair.same} for pair in self.steps],
        }


def render_comparison(compared: TrajectoryComparison, width: int) -> RenderableType:
    """Both for a terminal: what only one of them has is red at the left and green at the right."""
    problem = compared.left.problem
    parts: list[RenderableType] = [
        safe_text(problem.question, "bold"),
        safe_text(f"gold {problem.answer}  ·  {problem.problem_id}", "dim"),
        _facts_table(compared),
        Text(compared.parted, "italic"),
    ]
    for pair in compared.steps:
        parts.append(Rule(Text(f"step {pair.number}"), style="dim", align="left"))
        if pair.same:
            parts.append(Text("the same", "dim"))
        parts.extend(_sides(pair, beside=width >= NARROW))
    return Group(*parts)


def _facts_table(compared: TrajectoryComparison) -> Table:
    grid = Table(box=box.SIMPLE, padding=(0, 2, 0, 0), show_edge=False)
    grid.add_column("")
    for each in (compared.left, compared.right):
        grid.add_column(safe_text(each.trajectory_id), overflow="fold")
    for fact in compared.facts:
        style = "dim" if fact.same else ""
        grid.add_row(fact.name, safe_text(fact.left, style), safe_text(fact.right, style))
    return grid


def _sides(pair: StepPair, *, beside: bool) -> Iterator[RenderableType]:
    if beside:
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column(style="dim", width=7)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(ratio=1, overflow="fold")
        for part in pair.parts:
            grid.add_row(part.name, _marked(part.runs("left")), _marked(part.runs("right")))
        yield grid
        return
    for part in pair.parts:
        yield Text(part.name, "dim")
        runs = [part.runs("left")] if pair.same else [part.runs("left"), part.runs("right")]
        yield from map(_marked, runs)


def _marked(runs: list[Segment]) -> Text:
    styles = {"kept": "", "out": "red", "in": "green"}
    return Text.assemble(*((run.text, styles[run.kind]) for run in runs))


def _content(step: Step | None) -> tuple[str | None, str | None, str | None, str | None]:
    if step is None:
        return (None, None, None, None)
    return (step.thought, step.action, step.observation, step.outcome and step.outcome.value)


def _facts(each: Trajectory) -> dict[str, str]:
    made, cost = each.provenance, each.cost
    dropped = "; ".join(f"{one.rule}: {one.reason}" for one in each.filters if not one.kept)
    failed = sum(call.outcome is not None and call.outcome.is_code_failure for call in each.calls)
    tokens = cost.actor_completion_tokens + cost.critic_completion_tokens
    return {
        "answer": each.final_answer or "none",
        "verdict": _verdict(each),
        "ending": each.ending.value,
        "filters": f"dropped by {dropped}" if dropped else "kept",
        "programs": f"{len(each.calls)}, {failed} failed",
        "tokens": f"{tokens:,}",
        "seconds": f"model {cost.llm_seconds:.2f}, sandbox {cost.sandbox_seconds:.2f}",
        "policy": made.policy_version or made.actor_model,
        "dataset": f"{each.dataset}, {each.program.value}, attempt {each.attempt}",
        "run": made.run_id,
    }


def _verdict(each: Trajectory) -> str:
    if each.verdict is None:
        return "not judged"
    said = "unverifiable" if each.is_unverifiable else "right" if each.correct else "wrong"
    return f"{said} ({each.verdict.method}): {each.verdict.reason}"
