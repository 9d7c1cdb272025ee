"""The state of a run or training for a terminal; row text cannot send control codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.live.counts import Pace
from flows.live.state import Rows, RunState, Spent
from flows.terminal.tables import shortened
from storage.text import safe_text

_BARS: Final = "▁▂▃▄▅▆▇█"
_COLOURS: Final = {"running": "bold cyan", "finished": "bold green", "stopped": "bold red"}
_ANSWER: Final = 24
"""Characters of an answer."""
_STEP_FIGURES: Final = ("loss", "gradient_norm", "learning_rate")


def screen(state: RunState) -> RenderableType:
    """Everything about the run, at least 60 columns wide."""
    parts: list[RenderableType] = [_head(state)]
    if state.done is not None and state.total:
        parts.append(_bar(state, state.done, state.total))
    parts.append(_labelled(_figures(state)))
    if state.rows and state.rows.last:
        parts.append(_last(state.rows.last))
    return Group(*parts)


def one_line(state: RunState) -> str:
    """The state in a line, for output that is no terminal."""
    goal = f"{state.done}/{state.total} {state.unit}" if state.total else "no figures yet"
    parts = [f"{state.name} {state.status}", goal]
    if state.rows:
        pace = state.rows.lately or state.rows.overall
        parts.append(f"{state.rows.rows} rows, {state.rows.correct} right")
        parts.append(f"{pace.rows_per_minute:.1f} rows/min, {pace.tokens_per_second:,.0f} tokens/s")
    if state.eta_seconds is not None:
        parts.append(f"ETA {duration(state.eta_seconds)}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """E.g. ``1 h 05 min``, ``3 min 20 s`` or ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _head(state: RunState) -> Text:
    text = safe_text(f"{state.kind} {state.name}", "bold")
    text.append(f"  {state.status}", _COLOURS[state.status])
    if state.published:
        text.append_text(safe_text(f"  {state.published} is published", "green"))
    return text


def _bar(state: RunState, done: int, total: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    eta = f"ETA {duration(state.eta_seconds)}" if state.eta_seconds is not None else ""
    bar = ProgressBar(total=total, completed=min(done, total), width=30)
    grid.add_row(bar, f"{done:,} of {total:,} {state.unit} ({min(done / total, 1):.0%})", eta)
    return grid


def _figures(state: RunState) -> Iterator[tuple[str, Text]]:
    for holder in state.holders:
        yield "held by", safe_text(holder)
    if state.why:
        yield "stopped", safe_text(state.why, "red")
    if state.resume:
        yield "continue", safe_text(state.resume, "bold")
    elif state.status == "stopped":
        yield "continue", Text("start it again as it was started: no command line is known")
    if state.rows:
        yield from _row_figures(state.rows, state)
    if state.steps:
        yield from _step_figures(state.steps)
    yield "spent", Text(_spent(state.spent))
    if state.status == "running":
        yield "last change", Text(f"{duration(state.changed_seconds)} ago")


def _row_figures(rows: Rows, state: RunState) -> Iterator[tuple[str, Text]]:
    kinds = [f"{rows.baselines:,} baselines"] if rows.baselines else []
    kinds += [f"{rows.branches:,} branches"] if rows.branches else []
    among = f" ({', '.join(kinds)} among them)" if kinds else ""
    yield "rows", Text(f"{rows.rows:,}{among}")
    yield "outcomes", _outcomes(rows)
    if rows.endings:
        yield "endings", Text(_counted(rows.endings))
    if rows.programs:
        yield "programs", Text(_counted(rows.programs))
    yield "pace", Text(_paces(rows, "rows_per_minute", "{:,.1f} rows/min"))
    yield "", Text(_paces(rows, "tokens_per_second", "{:,.0f} tokens/s"))
    at_once = "" if state.in_progress is None else f"; {state.in_progress} rows in progress"
    each = f", {rows.llm_seconds / rows.llm_calls:.2f} s a request" if rows.llm_calls else ""
    yield "engine", Text(_paces(rows, "engine_calls", "{:.1f} requests at once") + each + at_once)
    yield "sandbox", Text(_paces(rows, "programs", "{:.2f} programs at once"))


def _outcomes(rows: Rows) -> Text:
    judged = rows.correct + rows.wrong
    share = f" ({rows.correct / judged:.0%} of the judged)" if judged else ""
    text = Text(f"{rows.correct:,} right{share}", "green").append(f", {rows.wrong:,} wrong", "")
    if rows.unverifiable:
        text.append(f", {rows.unverifiable:,} unverifiable", "yellow")
    if rows.kept is not None:
        text.append(f", {rows.kept:,} kept so far", "")
    if rows.lost:
        text.append(f", {rows.lost:,} lost to infrastructure", "red")
    return text


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items())


def _paces(rows: Rows, figure: str, shape: str) -> str:
    """Over the whole run, and lately."""

    def said(pace: Pace, shape: str) -> str:
        return shape.format(getattr(pace, figure))

    number = shape.partition("}")[0] + "}"
    late = f" ({said(rows.lately, number)} in the last minute)" if rows.lately else ""
    return said(rows.overall, shape) + late


def _spent(spent: Spent) -> str:
    values = {"minutes": spent.minutes, "tokens": spent.tokens, "money": spent.money}
    shapes = {"minutes": "{:,.1f}", "tokens": "{:,}", "money": "{:,.4g}"}
    parts = []
    for unit, value in values.items():
        if value is not None:
            most = spent.most.get(unit)
            limit = f" of {most:,g}" if most is not None else ""
            parts.append(f"{shapes[unit].format(value)}{limit} {unit}")
    return ", ".join(parts)


def _step_figures(steps: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Text]]:
    """The last step's figures with their curves; those of RL by level."""
    last = steps[-1]
    yield "step", Text(f"{last['step']:,}")
    for name in _STEP_FIGURES:
        if last.get(name) is not None:
            yield _spaced(name), _curve([step.get(name) for step in steps])
    for level, figures in (last.get("levels") or {}).items():
        for name in figures:
            values = [(step.get("levels") or {}).get(level, {}).get(name) for step in steps]
            yield f"{level} {_spaced(name)}", _curve(values)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _curve(values: Sequence[float | None]) -> Text:
    """The last value, and a small curve of all."""
    found = [value for value in values if isinstance(value, int | float)]
    if not found:
        return Text("none")
    low, high = min(found), max(found)
    marks = "".join(
        _BARS[round((value - low) / (high - low) * (len(_BARS) - 1)) if high > low else 0]
        for value in found
    )
    return Text(f"{found[-1]:<12.4g} ").append(marks if len(found) > 1 else "", "cyan")


def _labelled(rows: Iterator[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(safe_text(label), text)
    return grid


def _last(rows: Sequence[Mapping[str, Any]]) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    for name in ("last trajectories", "problem", "", "ending", "programs", "answer"):
        grid.add_column(name, overflow="ellipsis", no_wrap=True)
    for row in rows:
        right = {True: Text("right", "green"), False: Text("wrong", "red"), None: Text("–", "dim")}
        failed = f", {row['n_failed_calls']} failed" if row["n_failed_calls"] else ""
        grid.add_row(
            safe_text(row["trajectory_id"]),
            safe_text(f"{row['problem_id']} #{row['attempt']}"),
            right[row["correct"] if row["level"] == "trajectory" else None],
            safe_text(row["ending"].replace("_", " ")),
            f"{row['n_calls']}{failed}",
            safe_text(shortened(row["final_answer"] or "", _ANSWER)),
        )
    return grid
