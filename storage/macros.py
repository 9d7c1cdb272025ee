"""What the table macros of SQL contain: the text of each macro and its meaning.

A macro that takes a version takes it as every command does: ``demo@v3``, ``demo@gold`` by a tag, or
``demo`` for the latest. The names of all versions stand in the text of the macro, so that DuckDB
knows before it reads which files it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from storage.literals import list_literal, literal

MACROS = {
    "trajectory('ID PREFIX')": "the steps of one trajectory",
    "search('WORDS')": "trajectories whose question, thoughts, code or outputs contain the words",
    "trajectories_of('NAME@vN')": "rows of one version, without baselines",
    "as_of('2026-11-30 12:00')": "rows of the versions that were the latest at a time, UTC",
    "compare('A', 'B')": "figures of two versions: counts, accuracy, length, tool use",
    "compare_yields('A', 'B')": "what each filter rule dropped in two versions",
    "diff('A', 'B')": "trajectories that differ in two versions: gained, lost, or judged otherwise",
    "diff_problems('A', 'B')": "problems that have kept trajectories in only one of two versions",
    "lineage('NAME@vN')": "all that a dataset version or a policy was made from",
}
"""How each macro is called, and what it gives."""


class Published(NamedTuple):
    """A version as the macros need it."""

    name: str
    """``demo@v3``"""
    start: str
    """When it became the latest, as SQL compares times."""
    end: str | None
    """When the next one did; None for the latest."""


def _rows_of(reference: str) -> str:
    """The rows of the version that a macro's argument names; an unknown one is an error."""
    version = f"{{versions}}[{reference}::VARCHAR]"
    return f"""(SELECT * FROM all_trajectories
        WHERE dataset = split_part({reference}::VARCHAR, '@', 1) AND version = {version}
        UNION ALL BY NAME
        SELECT NULL::VARCHAR AS dataset WHERE CASE WHEN {version} IS NULL
            THEN error('no version ' || {reference} || ' is published')::BOOLEAN ELSE false END)"""


_TRAJECTORY = """
SELECT step, thought, action, observation, outcome FROM (
    SELECT generate_subscripts(steps, 1) AS step, unnest(steps, max_depth := 2)
    FROM records WHERE starts_with(trajectory_id, id::VARCHAR)
    QUALIFY dense_rank() OVER (ORDER BY trajectory_id, version[2:]::INTEGER DESC NULLS LAST) = 1
) ORDER BY step"""

_SEARCH = """
SELECT * FROM trajectories WHERE contains(lower(question || steps::VARCHAR), lower(words::VARCHAR))
"""

_AS_OF = """
SELECT * FROM all_trajectories WHERE list_contains(
    [v.name for v in {published} if v.start <= moment::TIMESTAMP
        AND coalesce(moment::TIMESTAMP < v.end, true)],
    dataset || '@' || version)"""

_COMPARE = f"""
WITH both_versions AS (
    SELECT 1 AS side, * FROM {_rows_of("a")}
    UNION ALL BY NAME
    SELECT 2 AS side, * FROM {_rows_of("b")}
), figures AS (
    SELECT side, [
        {{{{'figure': 'trajectories', 'value': count(*)::DOUBLE}}}},
        {{{{'figure': 'kept trajectories', 'value': count(*) FILTER (kept)}}}},
        {{{{'figure': 'problems', 'value': count(DISTINCT problem_id)}}}},
        {{{{'figure': 'problems with a kept trajectory',
            'value': count(DISTINCT problem_id) FILTER (kept)}}}},
        {{{{'figure': 'accuracy', 'value': avg(correct::INTEGER)}}}},
        {{{{'figure': 'steps per kept', 'value': avg(n_steps) FILTER (kept)}}}},
        {{{{'figure': 'policy tokens per kept', 'value': avg(n_policy_tokens) FILTER (kept)}}}},
        {{{{'figure': 'longest kept, in policy tokens',
            'value': max(n_policy_tokens) FILTER (kept)}}}},
        {{{{'figure': 'programs per kept', 'value': avg(n_calls) FILTER (kept)}}}},
        {{{{'figure': 'share of kept with a program',
            'value': avg((n_calls > 0)::INTEGER) FILTER (kept)}}}},
        {{{{'figure': 'share of programs that failed',
            'value': sum(n_failed_calls) / nullif(sum(n_calls), 0)}}}},
        {{{{'figure': 'corrected attempts', 'value': sum(n_corrections)}}}}] AS found
    FROM both_versions GROUP BY side
), listed AS (
    SELECT side, generate_subscripts(found, 1) AS place, unnest(found, max_depth := 2) FROM figures
)
SELECT figure, max(value) FILTER (side = 1) AS before, max(value) FILTER (side = 2) AS after,
    after - before AS change
FROM listed GROUP BY place, figure ORDER BY place"""

_COMPARE_YIELDS = """
SELECT rule, one.dropped AS dropped_before, one.kept AS kept_before,
    other.dropped AS dropped_after, other.kept AS kept_after
FROM (FROM yields WHERE dataset = split_part(a::VARCHAR, '@', 1)
        AND version = {versions}[a::VARCHAR]) AS one
    FULL JOIN (FROM yields WHERE dataset = split_part(b::VARCHAR, '@', 1)
        AND version = {versions}[b::VARCHAR]) AS other USING (rule)
ORDER BY coalesce(other.place, one.place), rule"""

_DROPPED = "[f.rule || ': ' || f.reason for f in filters if NOT f.kept][1]"
_COLUMNS = f"""trajectory_id, problem_id, program, attempt, correct, kept, reason,
        {_DROPPED} AS dropped"""

_DIFF = f"""
SELECT CASE WHEN new.trajectory_id IS NULL THEN 'lost' WHEN old.trajectory_id IS NULL THEN 'gained'
        WHEN old.correct IS DISTINCT FROM new.correct THEN 'verdict' ELSE 'filters' END AS change,
    trajectory_id, coalesce(new.problem_id, old.problem_id) AS problem_id,
    coalesce(new.program, old.program) AS program, coalesce(new.attempt, old.attempt) AS attempt,
    old.correct AS correct_before, new.correct AS correct_after,
    old.kept AS kept_before, new.kept AS kept_after,
    old.reason AS reason_before, new.reason AS reason_after,
    old.dropped AS dropped_before, new.dropped AS dropped_after
FROM (SELECT {_COLUMNS} FROM {_rows_of("a")}) AS old
    FULL JOIN (SELECT {_COLUMNS} FROM {_rows_of("b")}) AS new USING (trajectory_id)
WHERE old.trajectory_id IS NULL OR new.trajectory_id IS NULL
    OR old.correct IS DISTINCT FROM new.correct OR old.dropped IS DISTINCT FROM new.dropped
ORDER BY change, problem_id, program, attempt, trajectory_id"""

_DIFF_PROBLEMS = f"""
SELECT problem_id, CASE WHEN old.n IS NULL THEN 'gained' ELSE 'lost' END AS change,
    coalesce(new.question, old.question) AS question
FROM (SELECT problem_id, any_value(question) AS question, count(*) AS n
        FROM {_rows_of("a")} WHERE kept GROUP BY ALL) AS old
    FULL JOIN (SELECT problem_id, any_value(question) AS question, count(*) AS n
        FROM {_rows_of("b")} WHERE kept GROUP BY ALL) AS new USING (problem_id)
WHERE old.n IS NULL OR new.n IS NULL ORDER BY change, problem_id"""

_LINEAGE = """
WITH RECURSIVE found(distance, product, how, source) AS (
    SELECT 1, product, how, source FROM origins WHERE product = name::VARCHAR
    UNION
    SELECT distance + 1, origins.product, origins.how, origins.source
    FROM origins JOIN found ON origins.product = found.source
)
SELECT min(distance) AS distance, product, how, source FROM found
GROUP BY ALL ORDER BY distance, product, how, source"""
"""Versions are made from earlier ones, so it ends."""

_BODIES = {
    "trajectory(id)": _TRAJECTORY,
    "search(words)": _SEARCH,
    "trajectories_of(name)": f"FROM {_rows_of('name')}",
    "as_of(moment)": _AS_OF,
    "compare(a, b)": _COMPARE,
    "compare_yields(a, b)": _COMPARE_YIELDS,
    "diff(a, b)": _DIFF,
    "diff_problems(a, b)": _DIFF_PROBLEMS,
    "lineage(name)": _LINEAGE,
}

MACRO_TEXTS = {
    signature.partition("(")[0]: f"CREATE MACRO {signature} AS TABLE {body}"
    for signature, body in _BODIES.items()
}
"""The statement of each macro, by name; `filled` puts the names of the versions in."""


def filled(text: str, versions: Mapping[str, str], published: Iterable[Published]) -> str:
    """A macro's statement with the versions by every name that they have, and their times."""
    names, numbers = list_literal(versions), list_literal(versions.values())
    times = ", ".join(
        f"{{'name': {literal(one.name)}, 'start': {literal(one.start)}::TIMESTAMP, "
        f"'end': {literal(one.end)}::TIMESTAMP}}"
        for one in published
    )
    kind = 'STRUCT("name" VARCHAR, "start" TIMESTAMP, "end" TIMESTAMP)[]'
    known = f"map({names}::VARCHAR[], {numbers}::VARCHAR[])"
    return text.format(versions=known, published=f"[{times}]::{kind}")
