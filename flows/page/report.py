"""One page about a dataset version, a run, a policy or a training: charts, and the SQL behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from flows.live.screen import duration
from flows.live.state import RunState, Watcher
from flows.live.work import Work, find_work
from flows.page import charts
from flows.page.template import page_template, text_of
from flows.terminal.plots import Lines
from flows.terminal.tables import minute
from flows.training.figures import all_rounds, curves, rounds_panels, steps_panels
from storage.datasets import Store
from storage.literals import literal
from storage.policies import Policies, PolicyVersion
from storage.sql import query
from storage.versions import DatasetVersion
from storage.view_texts import LOST, yields_of
from tirgen.evaluation.estimates import Estimate, RatioSums
from trainer.history import history_of

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page's Content-Security-Policy: no script, no request."""
_BUCKETS: Final = 40
"""Points of a curve over time."""

Rows = Sequence[Mapping[str, Any]]


class Source(NamedTuple):
    """The rows that a page is about, as SQL to select from."""

    samples: str
    trajectories: str
    """The same without baselines."""
    version: str
    """The condition of a published version's rows in `yields` and `evaluations`."""

    def fill(self, sql: str) -> str:
        """A chart's SQL over these rows."""
        for name, value in self._asdict().items():
            sql = sql.replace(f"{{{name}}}", value)
        return sql


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


def of_version(version: DatasetVersion) -> Source:
    """The rows of a published version."""
    chosen = f"dataset = {literal(version.dataset)} AND version = {literal(version.version)}"
    return Source(
        f"(FROM all_samples WHERE {chosen})", f"(FROM all_trajectories WHERE {chosen})", chosen
    )


def of_run(work: Work, version: DatasetVersion | None) -> Source:
    """The rows of a run: those of its newest version, and those committed since."""
    own = f"dataset = {literal(work.made)} AND config_hash = {literal(work.config_hash)}"
    covered = f"{own} AND version = {literal(version.version)}" if version else "false"

    since = f"FROM running_samples WHERE {own}"
    before = (
        f"FROM all_samples WHERE {covered} AND trajectory_id NOT IN (SELECT trajectory_id {since})"
    )
    every = f"{before} UNION ALL BY NAME {since}" if version else since
    # The rule that marks the baselines of a generation is applied at publication.
    baseline = "program = 'cot'" if work.kind == "generation" else "baseline"
    replaced = f"{literal(work.name)} AS version, {baseline} AS baseline"
    samples = f"SELECT * REPLACE ({replaced}) FROM ({every})"
    return Source(f"({samples})", f"(FROM ({samples}) WHERE NOT baseline)", covered)


class ReportPage(NamedTuple):
    """A page and what it is about."""

    title: str
    page: str


def report_of(store: Store, name: str) -> ReportPage:
    """The page of a policy or a dataset, or one version of it, or of a run or a training.

    Raises NotFound, InvalidName and Damaged.
    """
    thing, _, wanted = name.partition("@")
    policies = Policies(store.root)
    if policies.versions(thing):
        policy = policies.version(name)
        return ReportPage(str(policy), policy_report(store, policy))
    if wanted or store.versions(thing):
        version = store.version(name)
        return ReportPage(str(version), dataset_report(store, version))
    work = find_work(store, name)
    return ReportPage(work.name, run_report(store, work))


def dataset_report(store: Store, version: DatasetVersion) -> str:
    """The page of a dataset version."""
    source = of_version(version)
    return _page(str(version), _described(store, source), _sections(store, _DATASET, source), store)


def run_report(store: Store, work: Work) -> str:
    """The page of a run or a training, whether it works, has stopped or is published."""
    state = Watcher(store, work).look()
    facts = list(_state_facts(state))
    if work.is_training:
        return _page(work.name, facts, [*_training(history_of(work.folder))], store)
    source = of_run(work, store.version(state.published) if state.published else None)
    return _page(
        work.name,
        [*facts, *_described(store, source)],
        _sections(store, _RUN, source),
        store,
    )


def policy_report(store: Store, policy: PolicyVersion) -> str:
    """The page of a policy version: its training, its rounds, and its evaluations."""
    work = Policies(store.root).work(policy.policy, policy.manifest["config_hash"])
    sql = _EVALUATED.replace("{policy}", literal(policy.policy))
    evaluated = query(store, sql).to_pylist()
    rounds = all_rounds(store, policy)
    sections = [
        *_training(history_of(work)),
        *(_curve(panel, "round", "By round of RL.") for panel in curves(rounds_panels(rounds))),
    ]
    if rounds:
        sections.append(_rounds_table(rounds))
    if evaluated:
        drawn = _estimates(evaluated, "policy", "benchmark", "right, ")
        sections.append(Section("Accuracy", "Of each evaluated version.", drawn, sql))
    return _page(str(policy), _policy_facts(policy), sections, store)


def _training(steps: Rows) -> Iterator[Section]:
    """The curves over the optimiser's steps."""
    for panel in steps_panels(steps):
        yield _curve(panel, "optimiser step", "Of the last training, by step.")


def _curve(panel: Lines, xlabel: str, caption: str) -> Section:
    drawn = charts.lines(panel.lines, xlabel, panel.title, whole=True)
    return Section(panel.title[:1].upper() + panel.title[1:], caption, drawn, "")


def _rounds_table(rounds: Rows) -> Section:
    """All figures of each round; one round alone is no curve."""
    names = [name for name in rounds[-1] if any(row.get(name) is not None for row in rounds)]
    drawn = page_template("table.html.jinja", figure=_figure).render(
        names=[name.replace("_", " ") for name in names],
        rows=[[row.get(name) for name in names] for row in rounds],
    )
    return Section("Rounds", "Rollouts and update of each round.", Markup(drawn), "")


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


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
    yield "published", minute(manifest["created_at"])
    last = manifest["metrics"].get("last_step", {})
    if "step" in last:
        yield "steps", f"{last['step']:,}"
    if "samples" in manifest["metrics"]:
        yield "samples", f"{manifest['metrics']['samples']:,}"


def _state_facts(state: RunState) -> Iterator[tuple[str, str]]:
    yield "status", state.status
    if state.why:
        yield "stopped because", state.why
    if state.published:
        yield "published", state.published
    if state.total:
        yield f"{state.unit} done", f"{state.done or 0:,} of {state.total:,}"
    if state.eta_seconds is not None:
        yield "time left", duration(state.eta_seconds)
    yield "working time", duration(60 * state.spent.minutes)
    if state.rows and state.rows.lost:
        yield "lost to infrastructure", f"{state.rows.lost:,}"


def _sections(store: Store, wanted: Sequence[Chart], source: Source) -> list[Section]:
    """A chart is left out where its query has no answer, or one that is nothing to draw."""
    found = []
    for chart in wanted:
        sql = source.fill(chart.sql)
        rows = query(store, sql).to_pylist()
        drawn = chart.draw(rows) if rows else None
        if drawn is not None:
            found.append(Section(chart.title, chart.caption, drawn, sql))
    return found


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
FROM {samples}"""
YIELD = "SELECT rule, entered, dropped, kept FROM yields WHERE {version} ORDER BY place"
_RUN_YIELD = (
    f"SELECT rule, entered, dropped, kept FROM ({yields_of('{trajectories}')}) ORDER BY place"
)
_ENDINGS = """SELECT ending, count(*) FILTER (kept) AS kept, count(*) FILTER (NOT kept) AS dropped
FROM {trajectories} GROUP BY ending ORDER BY count(*) DESC, ending"""
EXECUTIONS = """SELECT s.outcome AS outcome, count(*) AS programs
FROM (SELECT unnest(steps) AS s FROM {trajectories})
WHERE s.outcome IS NOT NULL GROUP BY ALL ORDER BY programs DESC, outcome"""
_CALLS = """SELECT n_calls AS value, kept, count(*) AS n FROM {trajectories}
GROUP BY ALL ORDER BY value"""
_LENGTHS = """SELECT n_policy_tokens AS value, kept, count(*) AS n FROM {trajectories}
GROUP BY ALL ORDER BY value"""
ACCURACY = """WITH problems AS (
    SELECT coalesce(difficulty, 'no difficulty') AS difficulty,
        CASE WHEN baseline THEN 'without tools' ELSE 'with tools' END AS tools,
        problem_id, count(*) FILTER (correct)::DOUBLE AS r, count(*)::DOUBLE AS n
    FROM {samples} WHERE level = 'trajectory' AND correct IS NOT NULL GROUP BY ALL)
SELECT difficulty, tools, count(*) AS problems, sum(r) AS above, sum(n) AS below,
    sum(r * r) AS above_squared, sum(r * n) AS product, sum(n * n) AS below_squared
FROM problems GROUP BY ALL ORDER BY difficulty, tools"""
"""Of each problem its right and its judged rows, and their sums and products over problems."""
TIME = f"""WITH made AS (
    SELECT epoch(created_at) AS moment, correct, kept, n_calls, n_failed_calls,
        ending IN ({LOST}) AS lost
    FROM {{trajectories}}
), span AS (
    SELECT min(moment) AS first, (max(moment) - min(moment)) / {_BUCKETS} AS width FROM made
), filled AS (
    SELECT least(floor((moment - first) / width), {_BUCKETS - 1})::INT AS bucket, count(*) AS made,
        count(*) FILTER (correct) AS correct, count(correct) AS judged,
        count(*) FILTER (kept) AS kept, count(*) FILTER (lost) AS lost,
        sum(n_calls) AS programs, sum(n_failed_calls) AS failed
    FROM made, span WHERE width > 0 GROUP BY ALL
)
SELECT (range + 0.5) * width / 60 AS minutes, width / 60 AS width, coalesce(made, 0) AS made,
    coalesce(correct, 0) AS correct, coalesce(kept, 0) AS kept, coalesce(lost, 0) AS lost,
    100.0 * correct / nullif(judged, 0) AS right_share, 100.0 * lost / made AS lost_share,
    100.0 * (failed / nullif(programs, 0)) AS failed_share
FROM range({_BUCKETS}) LEFT JOIN filled ON bucket = range, span WHERE width > 0 ORDER BY range"""
_COST = """SELECT program, sum(actor_prompt_tokens + critic_prompt_tokens)::BIGINT AS prompt,
    sum(actor_completion_tokens)::BIGINT AS actor, sum(critic_completion_tokens)::BIGINT AS critic
FROM {samples} GROUP BY ALL ORDER BY program DESC"""
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


def _distribution(xlabel: str) -> Callable[[Rows], Markup]:
    def draw(rows: Rows) -> Markup:
        groups: dict[str, dict[float, int]] = {"kept": {}, "dropped": {}}
        for row in rows:
            groups["kept" if row["kept"] else "dropped"][row["value"]] = row["n"]
        return charts.histogram(groups, xlabel, "trajectories")

    return draw


def _accuracy_chart(rows: Rows) -> Markup:
    found: defaultdict[str, dict[str, Estimate]] = defaultdict(dict)
    for row in rows:
        sums = {name: row[name] for name in RatioSums._fields}
        found[row["difficulty"]][row["tools"]] = RatioSums(**sums).share()
    return charts.intervals(found, "right, % of the judged, with 95 % interval over problems")


def _over_time(ylabel: str, **series: str) -> Callable[[Rows], Markup | None]:
    """A curve for each named column; where it has a share, none at moments without rows."""

    def draw(rows: Rows) -> Markup | None:
        if rows[0]["width"] < 1 / 60 / _BUCKETS:
            return None
        per = rows[0]["width"] if ylabel.endswith("a minute") else 1.0
        points = {
            name.replace("_", " "): [
                (row["minutes"], row[column] / per) for row in rows if row[column] is not None
            ]
            for name, column in series.items()
        }
        shown = {name: found for name, found in points.items() if any(y for _, y in found)}
        return charts.lines(shown, "minutes since the first", ylabel) if shown else None

    return draw


def _cost_chart(rows: Rows) -> Markup:
    kinds = ("prompt", "actor", "critic")
    parts = {row["program"]: {kind: row[kind] or 0 for kind in kinds} for row in rows}
    return charts.bars(parts, "tokens")


def _figures_chart(rows: Rows) -> Markup:
    return _estimates(rows, "benchmark", "figure", "")


_PACE: Final = Chart(
    "Over time",
    "When trajectories were committed.",
    TIME,
    _over_time("trajectories a minute", made="made", right="correct", kept="kept", lost="lost"),
)
_OUTCOMES: Final = Chart(
    "Outcomes over time",
    "Right of the judged trajectories, lost to infrastructure of all, failed of the programs.",
    TIME,
    _over_time("%", right="right_share", lost="lost_share", failed_programs="failed_share"),
)
_ROWS: Final = (
    Chart("How trajectories ended", "Kept and dropped by ending.", _ENDINGS, _endings_chart),
    Chart(
        "How programs ended",
        "Every program of every trajectory.",
        EXECUTIONS,
        charts.outcomes_of_programs,
    ),
    Chart(
        "Accuracy by difficulty",
        "With tools, and of the chain-of-thought samples without.",
        ACCURACY,
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
)
_COSTS: Final = Chart(
    "Cost", "Tokens read and written; prompts include what was cached.", _COST, _cost_chart
)
_YIELD_CAPTION: Final = (
    "Each trajectory counts at the first rule that drops it; a bar is what the rules before it left"
)
_DATASET: Final = (
    Chart("Evaluation", "Each figure with its interval.", _FIGURES, _figures_chart),
    Chart("Yield by filter rule", f"{_YIELD_CAPTION}.", YIELD, _yield_chart),
    *_ROWS,
    _PACE,
    _OUTCOMES,
    _COSTS,
)
"""In the order of the page; a chart without rows is left out."""
_RUN: Final = (
    _PACE,
    _OUTCOMES,
    Chart(
        "Yield by filter rule",
        f"{_YIELD_CAPTION}. Rules over the whole dataset, and over groups of rollouts, are applied "
        "at publication.",
        _RUN_YIELD,
        _yield_chart,
    ),
    *_ROWS,
    _COSTS,
)


def _described(store: Store, source: Source) -> Iterator[tuple[str, str]]:
    """Names and values for the head of the page."""
    [facts] = query(store, source.fill(_FACTS)).to_pylist()
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
    title: str,
    facts: Iterator[tuple[str, str]] | Sequence[tuple[str, str]],
    sections: Sequence[Section],
    store: Store,
) -> str:
    return page_template("report.html.jinja").render(
        title=title,
        facts=list(facts),
        sections=sections,
        store=str(store),
        policy=POLICY,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        css=Markup(text_of("page.css")),
    )
