"""One trajectory for human eyes, on the terminal with rich.

Thought, code and output are told apart by label and colour; what failed is red; what a filter or
the verdict said stands with its reason. All text comes from models, programs and data sets, so
none of it is trusted: rich markup is never interpreted, control characters are shown as pictures.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from storage.records import Attempt, Cost, Ending, Outcome, Step, Trajectory
from storage.text import safe_text


def render_trajectory(trajectory: Trajectory) -> RenderableType:
    """The whole trajectory, from the question to the last filter's reason, ready for a console."""
    parts: list[RenderableType] = [_header(trajectory)]
    for number, step in enumerate(trajectory.steps, start=1):
        parts.append(Rule(Text(_step_title(number, step)), style="dim", align="left"))
        parts.extend(_step(step))
    parts.append(Rule(Text("verdict"), style="dim", align="left"))
    parts.append(_verdicts(trajectory))
    return Group(*parts)


def _header(trajectory: Trajectory) -> Table:
    problem, provenance = trajectory.problem, trajectory.provenance
    where = filter(None, (problem.problem_id, problem.source, problem.difficulty))
    models = filter(None, (provenance.actor_model, provenance.critic_model, provenance.engine))
    rows = {
        "trajectory": safe_text(f"{trajectory.trajectory_id}  {trajectory.dataset}", "bold"),
        "problem": safe_text(" · ".join(where)),
        "question": safe_text(problem.question),
        "gold": safe_text(problem.answer),
        "answer": _answer(trajectory),
        "ending": _ending(trajectory),
        "made by": safe_text(
            f"{trajectory.program.value}, attempt {trajectory.attempt}, {' + '.join(models)}"
        ),
        "cost": Text(_cost(trajectory.cost)),
    }
    return _labelled(rows)


def _labelled(rows: dict[str, Text]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows.items():
        grid.add_row(safe_text(label), text)
    return grid


def _answer(trajectory: Trajectory) -> Text:
    if trajectory.final_answer is None:
        return Text("none", style="dim")
    return safe_text(trajectory.final_answer, _good(trajectory.correct))


def _ending(trajectory: Trajectory) -> Text:
    text = Text(trajectory.ending.value, style=_good(trajectory.ending is Ending.FINISHED))
    if trajectory.error is not None:
        text.append_text(safe_text(f": {trajectory.error}"))
    return text


def _cost(cost: Cost) -> str:
    tokens = cost.actor_completion_tokens + cost.critic_completion_tokens
    return (
        f"{tokens} tokens in {cost.actor_calls + cost.critic_calls} calls, "
        f"llm {cost.llm_seconds:.2f} s, sandbox {cost.sandbox_seconds:.2f} s"
    )


def _step_title(number: int, step: Step) -> str:
    return f"step {number} · {step.policy_tokens} tokens · {step.llm_seconds:.2f} s"


def _step(step: Step) -> Iterator[RenderableType]:
    if step.draft is not None:
        yield _labelled({"draft": safe_text(step.draft, "dim italic")})
    for attempt in step.attempts:
        yield from _attempt(attempt)
    yield _labelled({"thought": safe_text(step.thought)})
    if step.action is not None:
        yield _code("code", step.action, "blue")
    if step.observation is not None:
        yield _output(step.observation, step.outcome, f" · {step.sandbox_seconds:.2f} s")


def _attempt(attempt: Attempt) -> Iterator[RenderableType]:
    yield _labelled({"tried": safe_text(attempt.thought, "dim")})
    yield _code("code, replaced", attempt.action, "dim")
    yield _output(attempt.observation, attempt.outcome, "")


def _code(label: str, code: str, style: str) -> RenderableType:
    highlighted = Syntax(
        safe_text(code).plain,
        "python",
        theme="ansi_dark",
        background_color="default",
        word_wrap=True,
    )
    return _box(label, highlighted, style)


def _output(output: str, outcome: Outcome | None, seconds: str) -> RenderableType:
    passed = outcome is None or outcome.passed
    label = f"output · {outcome.value}{seconds}" if outcome else "output"
    return _box(
        label, safe_text(output, "" if passed else "red"), "green" if passed else "bold red"
    )


def _box(label: str, content: RenderableType, style: str) -> RenderableType:
    title = Text(label, style=style)
    panel = Panel(content, title=title, title_align="left", border_style=style, box=box.ROUNDED)
    return Padding(panel, (0, 0, 0, 9))


def _verdicts(trajectory: Trajectory) -> Table:
    verdict = trajectory.verdict
    rows = {}
    if verdict is None:
        rows["verifier"] = Text("never judged", style="yellow")
    else:
        judged = "correct" if verdict.correct else "wrong"
        text = Text(judged, style=_good(verdict.correct))
        rows["verifier"] = text.append_text(safe_text(f" ({verdict.method}): {verdict.reason}", ""))
    if trajectory.filters and trajectory.kept:
        names = ", ".join(verdict.rule for verdict in trajectory.filters)
        rows["filters"] = Text("kept by all", style="green").append_text(safe_text(f": {names}"))
    for dropped in (found for found in trajectory.filters if not found.kept):
        rows[dropped.rule] = Text("dropped", style=_good(False)).append_text(
            safe_text(f": {dropped.reason}")
        )
    return _labelled(rows)


def _good(good: bool) -> str:
    return "green" if good else "bold red"
