"""One page about a dataset version or a policy: charts, figures, and the SQL behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from flows.page import charts
from flows.page.template import page_template, text_of
from flows.terminal.plots import Lines
from flows.training.figures import all_rounds, rounds_panels
from storage.datasets import Store
from storage.literals import literal
from storage.policies import Policies, PolicyVersion
from storage.sql import query
from storage.versions import DatasetVersion
from tirgen.evaluation.estimates import Bootstrap, Estimate
from trainer.history import HISTORY, read_history

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page's Content-Security-Policy: no script, no request."""
_SEED: Final = 0
_MOST_BUCKETS: Final = 40
"""Points of a curve over time."""

Rows = Sequence[Mapping[str, Any]]


class Chart(NamedTuple):
    """A query and how its answer is drawn."""

    title: str
    caption: str
    sql: str
    draw: Callable[[Rows], Markup | None]


class Section(NamedTuple):
    """A chart with its words and its query."""

    title: str
    caption: str
    """What is drawn, in which unit, of which rows."""
    drawn: Markup
    sql: str
    """Empty where the figures come from the trainer's own record."""


def dataset_report(store: Store, version: DatasetVersion) -> str:
    """The page of a dataset version."""
    chosen = rows_of(version)
    sections = [found for chart in _DATASET if (found := _section(store, chart, chosen))]
    [facts] = query(store, _FACTS.format(version=chosen)).to_pylist()
    return _page(f"{version}", _described(facts), sections, store)


def rows_of(version: DatasetVersion) -> str:
    """The SQL condition of a version's rows."""
    return f"dataset = {literal(version.dataset)} AND version = {literal(version.version)}"


def policy_report(store: Store, policy: PolicyVersion) -> str:
    """The page of a policy version: its training, its rounds, and its evaluations."""
    history = Policies(store.root).work(policy.policy, policy.manifest["config_hash"]) / HISTORY
    steps = read_history(history) if history.exists() else []
    sql = _EVALUATED.format(policy=literal(policy.policy))
    evaluated = query(store, sql).to_pylist()
    rounds = all_rounds(store, policy)
    sections = [
        *_training(steps),
        *(_round(panel) for panel in rounds_panels(rounds) if len(rounds) > 1 and panel.lines),
    ]
    if evaluated:
        drawn = _estimates(evaluated, "policy", "benchmark", "right, ")
        sections.append(Section("Accuracy", "Of each evaluated version.", drawn, sql))
    return _page(str(policy), _policy_facts(policy), sections, store)


def _training(steps: Rows) -> Iterator[Section]:
    """The curves over the optimiser's steps; one step is no curve."""
    for name, unit in (("loss", "loss"), ("gradient_norm", "norm of the gradient")):
        points = [(step["step"], step[name]) for step in steps if step.get(name) is not None]
        if len(points) > 1:
            drawn = charts.lines({unit: points}, "optimiser step", unit, whole=True)
            yield Section(unit.capitalize(), "Of the last training.", drawn, "")


def _round(panel: Lines) -> Section:
    drawn = charts.lines(panel.lines, "round", panel.title, whole=True)
    return Section(panel.title.capitalize(), "By round of reinforcement learning.", drawn, "")


def _estimates(rows: Rows, label: str, series: str, xlabel: str) -> Markup:
    """Rows of the view `evaluations`: a line for each `label`, a mark for each `series`."""
    found: defaultdict[str, dict[str, Estimate]] = defaultdict(dict)
    for row in rows:
        value = Estimate(value=row["value"], low=row["low"], high=row["high"])
        found[row[label]][row[series]] = value
    return charts.intervals(found, f"{xlabel}%, with 95 % interval over problems")


def _policy_facts(policy: PolicyVersion) -> Iterator[tuple[str, str]]:
    manifest = policy.manifest
    yield "trained by", {"sft": "SFT", "rl": "reinforcement learning"}[manifest["kind"]]
    yield "parent", manifest["parent"]
    yield "dataset", manifest["dataset"]
    yield "published", manifest["created_at"][:16].replace("T", " ")
    last = manifest["metrics"].get("last_step", {})
    if "step" in last:
        yield "steps", f"{last['step']:,}"
    if "samples" in manifest["metrics"]:
        yield "samples", f"{manifest['metrics']['samples']:,}"


def _section(store: Store, chart: Chart, chosen: str) -> Section | None:
    """None where the query has no answer, or one that is nothing to draw."""
    sql = chart.sql.format(version=chosen)
    rows = query(store, sql).to_pylist()
    drawn = chart.draw(rows) if rows else None
    return Section(chart.title, chart.caption, drawn, sql) if drawn is not None else None


_FACTS = """SELECT count(*) FILTER (NOT baseline) AS trajectories,
    count(DISTINCT problem_id) AS problems,
    count(*) FILTER (kept AND NOT baseline) AS kept,
    avg(correct::INT) FILTER (NOT baseline) AS accuracy,
    count(*) FILTER (baseline) AS baselines,
    sum(n_calls) FILTER (NOT baseline)::BIGINT AS programs,
    sum(n_failed_calls) FILTER (NOT baseline)::BIGINT AS failed_programs,
    sum(actor_completion_tokens + critic_completion_tokens)::BIGINT AS tokens,
    sum(llm_seconds) AS llm_seconds, sum(sandbox_seconds) AS sandbox_seconds,
    string_agg(DISTINCT actor_model, ', ') AS actor,
    string_agg(DISTINCT critic_model, ', ') AS critic
FROM all_samples WHERE {version}"""
YIELD = "SELECT rule, entered, dropped, kept FROM yields WHERE {version} ORDER BY place"
_ENDINGS = """SELECT ending, count(*) FILTER (kept) AS kept, count(*) FILTER (NOT kept) AS dropped
FROM all_trajectories WHERE {version} GROUP BY ending ORDER BY count(*) DESC, ending"""
EXECUTIONS = """SELECT s.outcome AS outcome, count(*) AS programs
FROM (SELECT unnest(steps) AS s FROM all_trajectories WHERE {version})
WHERE s.outcome IS NOT NULL GROUP BY ALL ORDER BY programs DESC, outcome"""
_CALLS = """SELECT n_calls AS value, kept, count(*) AS n FROM all_trajectories
WHERE {version} GROUP BY ALL ORDER BY value"""
_LENGTHS = """SELECT n_policy_tokens AS value, kept, count(*) AS n FROM all_trajectories
WHERE {version} GROUP BY ALL ORDER BY value"""
_ACCURACY = """SELECT coalesce(difficulty, 'no difficulty') AS difficulty,
    CASE WHEN baseline THEN 'without tools' ELSE 'with tools' END AS tools, problem_id,
    count(*) FILTER (correct) AS correct, count(correct) AS judged
FROM all_samples WHERE {version} AND level = 'trajectory' AND correct IS NOT NULL
GROUP BY ALL ORDER BY difficulty, tools, problem_id"""
_TIME = """SELECT epoch(created_at) AS seconds, correct, kept FROM all_trajectories
WHERE {version} ORDER BY seconds"""
_COST = """SELECT program, sum(actor_prompt_tokens + critic_prompt_tokens)::BIGINT AS prompt,
    sum(actor_completion_tokens)::BIGINT AS actor, sum(critic_completion_tokens)::BIGINT AS critic
FROM all_samples WHERE {version} GROUP BY ALL ORDER BY program DESC"""
_FIGURES = """SELECT benchmark, replace(figure, '_', ' ') AS figure, value, low, high
FROM evaluations WHERE {version} AND figure IN ('accuracy', 'code_ratio', 'execution_pass')
    AND value IS NOT NULL
ORDER BY benchmark, figure"""


_EVALUATED = """SELECT DISTINCT ON (policy, benchmark) policy, benchmark, value, low, high
FROM evaluations WHERE starts_with(policy, {policy} || '@') AND figure = 'accuracy'
ORDER BY policy, benchmark, version[2:]::INTEGER DESC"""


def _yield_chart(rows: Rows) -> Markup:
    return charts.kept_and_dropped(rows, "rule")


def _endings_chart(rows: Rows) -> Markup:
    return charts.kept_and_dropped(rows, "ending")


def _executions_chart(rows: Rows) -> Markup:
    return charts.bars({row["outcome"]: {"programs": row["programs"]} for row in rows}, "programs")


def _distribution(xlabel: str) -> Callable[[Rows], Markup]:
    def draw(rows: Rows) -> Markup:
        groups: dict[str, dict[float, int]] = {"kept": {}, "dropped": {}}
        for row in rows:
            groups["kept" if row["kept"] else "dropped"][row["value"]] = row["n"]
        return charts.histogram(groups, xlabel, "trajectories")

    return draw


def _accuracy_chart(rows: Rows) -> Markup:
    counted: defaultdict[str, defaultdict[str, tuple[list[float], list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: ([], []))
    )
    for row in rows:
        right, judged = counted[row["difficulty"]][row["tools"]]
        right.append(row["correct"])
        judged.append(row["judged"])
    estimate = Bootstrap(_SEED).ratio
    found: dict[str, dict[str, Estimate]] = {}
    for difficulty, tools in counted.items():
        values = {name: estimate(*ratio) for name, ratio in tools.items()}
        found[difficulty] = {name: value for name, value in values.items() if value is not None}
    return charts.intervals(found, "right, % of the judged, with 95 % interval over problems")


def _time_chart(rows: Rows) -> Markup | None:
    first, last = rows[0]["seconds"], rows[-1]["seconds"]
    if last - first < 1:
        return None
    width = (last - first) / min(_MOST_BUCKETS, len(rows))
    buckets: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        buckets[min(int((row["seconds"] - first) / width), _MOST_BUCKETS - 1)].append(row)
    points = {
        name: [
            ((number + 0.5) * width / 60, 60 * sum(bool(row[key]) for row in found) / width)
            for number, found in sorted(buckets.items())
        ]
        for name, key in (("made", "seconds"), ("right", "correct"), ("kept", "kept"))
    }
    return charts.lines(points, "minutes since the first", "trajectories a minute")


def _cost_chart(rows: Rows) -> Markup:
    kinds = ("prompt", "actor", "critic")
    parts = {row["program"]: {kind: row[kind] or 0 for kind in kinds} for row in rows}
    return charts.bars(parts, "tokens")


def _figures_chart(rows: Rows) -> Markup:
    return _estimates(rows, "benchmark", "figure", "")


_DATASET: Final = (
    Chart("Evaluation", "Each figure with its interval.", _FIGURES, _figures_chart),
    Chart(
        "Yield by filter rule",
        "Each trajectory counts at the first rule that drops it; a bar is what the "
        "rules before it left.",
        YIELD,
        _yield_chart,
    ),
    Chart("How trajectories ended", "Kept and dropped by ending.", _ENDINGS, _endings_chart),
    Chart(
        "How programs ended", "Every program of every trajectory.", EXECUTIONS, _executions_chart
    ),
    Chart(
        "Accuracy by difficulty",
        "With tools, and of the chain-of-thought samples without.",
        _ACCURACY,
        _accuracy_chart,
    ),
    Chart(
        "Programs in a trajectory",
        "Kept and dropped, stacked.",
        _CALLS,
        _distribution("programs in a trajectory"),
    ),
    Chart(
        "Length",
        "Tokens that the policy wrote.",
        _LENGTHS,
        _distribution("policy tokens in a trajectory"),
    ),
    Chart("Over time", "When trajectories were committed.", _TIME, _time_chart),
    Chart("Cost", "Tokens read and written; prompts include what was cached.", _COST, _cost_chart),
)
"""In the order of the page; a chart without rows is left out."""


def _described(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values for the head of the page."""
    trajectories, kept = facts["trajectories"] or 0, facts["kept"] or 0
    share = f" ({kept / trajectories:.0%})" if trajectories else ""
    yield "problems", f"{facts['problems']:,}"
    yield "trajectories", f"{trajectories:,}"
    yield "kept", f"{kept:,}{share}"
    if facts["accuracy"] is not None:
        yield "right", f"{facts['accuracy']:.1%}"
    if facts["programs"]:
        yield "programs that failed", f"{facts['failed_programs'] / facts['programs']:.1%}"
    yield "tokens written", f"{facts['tokens'] or 0:,}"
    yield "model time", f"{(facts['llm_seconds'] or 0) / 3600:.2f} h"
    yield "sandbox time", f"{(facts['sandbox_seconds'] or 0) / 3600:.2f} h"
    yield "actor", facts["actor"] or "none"
    if facts["critic"]:
        yield "critic", facts["critic"]


def _page(
    title: str, facts: Iterator[tuple[str, str]], sections: Sequence[Section], store: Store
) -> str:
    return page_template("report.html.jinja").render(
        title=title,
        facts=list(facts),
        sections=sections,
        store=str(store.root),
        policy=POLICY,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        css=Markup(text_of("page.css")),
    )
