"""The SQL text of every view that stands on other views."""

from __future__ import annotations

from storage.records import BASELINE_RULE, UNVERIFIABLE, Ending, Program
from storage.schema import trajectory_schema

_COLUMNS = ", ".join(trajectory_schema().names)

_FIRST = """trajectory_id, dataset, version, problem_id, attempt, correct, kept, ending, n_steps,
    n_calls, n_failed_calls, n_corrections, n_policy_tokens, final_answer, gold_answer, method,
    reason, error, question"""

_ENRICHED = f"""
WITH counted AS (
    SELECT * REPLACE (make_timestamp((created_at * 1e6)::BIGINT) AS created_at,
            CASE WHEN method IS DISTINCT FROM '{UNVERIFIABLE}' THEN correct END AS correct),
        coalesce(list_bool_and([f.kept for f in filters]), true) AS kept,
        [f.rule for f in filters if NOT f.kept][1] AS dropped_by,
        coalesce(list_bool_or([f.rule = '{BASELINE_RULE}' AND NOT f.kept for f in filters]), false)
            AS baseline,
        len(steps) AS n_steps,
        len([s for s in steps if s.action IS NOT NULL]) AS n_calls,
        len([s for s in steps if s.outcome NOT IN ('ok', 'infra_error')]) AS n_failed_calls,
        coalesce(list_sum([len(s.attempts) for s in steps]), 0)::BIGINT AS n_corrections,
        coalesce(list_sum([s.policy_tokens for s in steps]), 0)::BIGINT AS n_policy_tokens,
        CASE WHEN len([1 for s in steps if contains(s.thought, '<think>')
                or contains(s.thought, '</think>')]) > 0
            THEN 'reasoning' ELSE 'non_reasoning' END AS mode
    FROM {{source}}
)
SELECT {_FIRST}, * EXCLUDE ({_FIRST}) FROM counted"""
"""Values that follow from a row, computed where they are asked for and never stored."""

_IDENTITY = "trajectory_id, dataset, version, problem_id, attempt"

_STEPS = f"""
SELECT {_IDENTITY}, generate_subscripts(steps, 1) AS step, n_steps,
    unnest(steps, max_depth := 2)
FROM trajectories"""

_FAILURES = f"""
SELECT {_IDENTITY}, NULL::BIGINT AS step, 'trajectory' AS level, ending AS what, error AS detail,
    NULL::VARCHAR AS action
FROM trajectories WHERE ending <> 'finished'
UNION ALL
SELECT {_IDENTITY}, step, 'step', outcome, observation, action
FROM steps WHERE outcome <> 'ok'
UNION ALL
SELECT {_IDENTITY}, step, 'attempt', attempt_.outcome, attempt_.observation, attempt_.action
FROM (SELECT * EXCLUDE (action, outcome, observation), unnest(attempts) AS attempt_ FROM steps)"""

_MISSING_MODULES = """
SELECT dataset, version, module, count(*) AS programs,
    count(DISTINCT trajectory_id) AS trajectories
FROM (
    SELECT *, regexp_extract(
        detail, '(?m)^ModuleNotFoundError: No module named ''(\\w+)[\\w.]*''', 1) AS module
    FROM failures WHERE what = 'error' AND level <> 'trajectory')
WHERE module <> '' GROUP BY ALL ORDER BY programs DESC, module"""

_FILTERS = f"""
SELECT {_IDENTITY}, generate_subscripts(filters, 1) AS position,
    unnest(filters, max_depth := 2)
FROM (SELECT * EXCLUDE (kept, reason) FROM trajectories)"""

_PROBLEMS = """
SELECT dataset, version, problem_id, any_value(source) AS source,
    any_value(difficulty) AS difficulty, any_value(question) AS question,
    any_value(gold_answer) AS gold_answer, count(*) AS n, count(correct) AS judged,
    count(*) FILTER (correct) AS correct, count(*) FILTER (kept) AS kept_rows,
    count(*) FILTER (correct) BETWEEN 1 AND count(correct) - 1 AS mixed
FROM trajectories WHERE level = 'trajectory' GROUP BY dataset, version, problem_id"""

WORST = "correct NULLS FIRST, kept, n_failed_calls DESC, trajectory_id"
"""The order of trajectories with failed ones first."""
BEST = "correct DESC NULLS LAST, kept DESC, n_failed_calls, trajectory_id DESC"
GROUP = "coalesce(group_id, problem_id)"
COMPARED = f"dataset, version, program, policy_version, {GROUP}"
"""What the rows of one group have in common."""

_EXTREMES = f"""
SELECT CASE WHEN is_worst AND is_best THEN 'only' WHEN is_worst THEN 'worst' ELSE 'best' END
    AS extreme, * EXCLUDE (is_worst, is_best)
FROM (SELECT *,
        row_number() OVER (PARTITION BY {COMPARED} ORDER BY {WORST}) = 1 AS is_worst,
        row_number() OVER (PARTITION BY {COMPARED} ORDER BY {BEST}) = 1 AS is_best
    FROM trajectories)
WHERE is_worst OR is_best"""

UNSCORED = ", ".join(f"'{ending.value}'" for ending in Ending if not ending.is_judged)
"""Endings that say nothing about the answer, as a list in SQL."""
LOST = ", ".join(f"'{ending.value}'" for ending in Ending if ending.is_infrastructure)
"""Endings that are faults of engine or sandbox, as a list in SQL."""

REWARD = f"""CASE WHEN ending IN ({UNSCORED}) OR method = '{UNVERIFIABLE}' THEN NULL
        WHEN level = 'step'
        THEN coalesce([s.outcome for s in steps if s.action IS NOT NULL][-1] = 'ok', false)::INTEGER
        ELSE coalesce(correct, false)::INTEGER END"""
"""That of `records.Trajectory.reward`."""

_ROLLOUTS = f"""
SELECT {REWARD} AS reward, *
FROM all_trajectories WHERE program = '{Program.ROLLOUT.value}'"""

_ATTEMPTS = f"""
SELECT {_IDENTITY}, step, generate_subscripts(attempts, 1) AS number,
    coalesce(step_outcome = 'ok', false) AS corrected, unnest(attempts, max_depth := 2)
FROM (SELECT {_IDENTITY}, step, outcome AS step_outcome, attempts FROM steps)"""

_CALLS = f"""
SELECT *, CASE WHEN outcome = 'error'
    THEN nullif(regexp_extract(observation, '(\\w+(?:Error|Exception|Exit))', 1), '') END AS error
FROM (
    SELECT {_IDENTITY}, step, false AS replaced, action, observation, outcome, sandbox_seconds
    FROM steps WHERE action IS NOT NULL
    UNION ALL
    SELECT {_IDENTITY}, step, true, action, observation, outcome, NULL FROM attempts)"""

_YIELDS = f"""WITH rules AS (
    SELECT dataset, version, rule, min(position) AS position FROM (
        SELECT dataset, version, generate_subscripts(filters, 1) AS position,
            unnest(filters).rule AS rule
        FROM {{source}}) WHERE rule <> '{BASELINE_RULE}' GROUP BY ALL
), firsts AS (
    SELECT dataset, version, dropped_by AS rule, count(*) AS dropped
    FROM {{source}} GROUP BY ALL
), counted AS (
    SELECT dataset, version, position, rule, coalesce(dropped, 0) AS dropped,
        row_number() OVER in_order AS place,
        (sum(coalesce(dropped, 0)) OVER in_order)::BIGINT AS dropped_so_far
    FROM rules LEFT JOIN firsts USING (dataset, version, rule)
    WINDOW in_order AS (PARTITION BY dataset, version ORDER BY position, rule)
), came_in AS (SELECT dataset, version, sum(dropped)::BIGINT AS n FROM firsts GROUP BY ALL)
SELECT dataset, version, place, rule, n - dropped_so_far + dropped AS entered, dropped,
    n - dropped_so_far AS kept
FROM counted JOIN came_in USING (dataset, version) ORDER BY dataset, version, place"""


def yields_of(source: str) -> str:
    """The yield of trajectories, as a SELECT over them.

    Each dropped row counts at the first rule that drops it, as in `tirgen.filters.apply`.
    """
    return _YIELDS.replace("{source}", source)


_ACCURACY = """
SELECT dataset, version, program, coalesce(policy_version, actor_model) AS policy, difficulty,
    count(*) AS n, count(correct) AS judged, count(*) FILTER (correct) AS correct,
    avg(correct::INTEGER) AS accuracy, avg(n_calls) AS calls
FROM {source} WHERE level = 'trajectory' GROUP BY ALL"""
"""Of the rows that were judged: what broke, or cannot be verified, is neither right nor wrong."""

_TOOL_USE = """
WITH counted AS (
    SELECT dataset, version,
        count(*) FILTER (is_right AND all_ran) AS right_ran,
        count(*) FILTER (is_right AND NOT all_ran) AS right_failed,
        count(*) FILTER (NOT is_right AND all_ran) AS wrong_ran,
        count(*) FILTER (NOT is_right AND NOT all_ran) AS wrong_failed
    FROM (
        SELECT dataset, version, correct OR coalesce(judge_correct, false) AS is_right,
            n_failed_calls = 0 AS all_ran
        FROM all_trajectories
        WHERE level = 'trajectory' AND n_calls > 0 AND correct IS NOT NULL)
    GROUP BY ALL)
SELECT *, right_ran / nullif(right_ran + wrong_ran, 0) AS accuracy_all_ran,
    right_failed / nullif(right_failed + wrong_failed, 0) AS accuracy_some_failed,
    (right_ran + right_failed + wrong_ran + wrong_failed)
        * (right_ran::DOUBLE * wrong_failed - right_failed::DOUBLE * wrong_ran) ** 2
        / nullif((right_ran + right_failed)::DOUBLE * (wrong_ran + wrong_failed)
            * (right_ran + wrong_ran) * (right_failed + wrong_failed), 0) AS chi_square
FROM counted"""
"""The 2 x 2 table of method E12, and Pearson's statistic without Yates's correction."""

_COSTS = """
WITH spent AS (
    SELECT dataset, version, model, sum(prompt_tokens) AS prompt_tokens,
        sum(completion_tokens) AS completion_tokens
    FROM (
        SELECT dataset, version, actor_model AS model, actor_prompt_tokens AS prompt_tokens,
            actor_completion_tokens AS completion_tokens FROM latest_samples
        UNION ALL
        SELECT dataset, version, critic_model, critic_prompt_tokens, critic_completion_tokens
        FROM latest_samples)
    GROUP BY ALL
), paid AS (
    SELECT dataset, version, sum(prompt_tokens)::BIGINT AS prompt_tokens,
        sum(completion_tokens)::BIGINT AS completion_tokens,
        sum(prompt_tokens * prompt + completion_tokens * completion) / 1e6 AS money
    FROM spent LEFT JOIN prices USING (dataset, version, model) GROUP BY ALL
), counted AS (
    SELECT dataset, version, count(*) AS n, count(*) FILTER (kept) AS kept_rows,
        sum(llm_seconds) AS llm_seconds, sum(sandbox_seconds) AS sandbox_seconds
    FROM latest_samples GROUP BY ALL)
SELECT *, (prompt_tokens + completion_tokens) / nullif(kept_rows, 0) AS tokens_per_kept,
    money / nullif(kept_rows, 0) AS money_per_kept
FROM counted JOIN paid USING (dataset, version)"""
"""Baselines and dropped rows are paid for too."""

DERIVED_VIEWS = {
    "records": f"SELECT {_COLUMNS}, version FROM published_records "
    f"UNION ALL SELECT {_COLUMNS}, version FROM running_records",
    "latest_samples": _ENRICHED.format(source="latest_records"),
    "all_samples": _ENRICHED.format(source="published_records"),
    "running_samples": _ENRICHED.format(source="running_records"),
    "trajectories": "SELECT * EXCLUDE (baseline) FROM latest_samples WHERE NOT baseline",
    "all_trajectories": "SELECT * EXCLUDE (baseline) FROM all_samples WHERE NOT baseline",
    "running": "SELECT * EXCLUDE (baseline) FROM running_samples WHERE NOT baseline",
    "baselines": "SELECT * EXCLUDE (baseline) FROM all_samples WHERE baseline",
    "problems": _PROBLEMS,
    "extremes": _EXTREMES,
    "rollouts": _ROLLOUTS,
    "steps": _STEPS,
    "attempts": _ATTEMPTS,
    "calls": _CALLS,
    "failures": _FAILURES,
    "missing_modules": _MISSING_MODULES,
    "filters": _FILTERS,
    "yields": yields_of("all_trajectories"),
    "accuracy": _ACCURACY.format(source="latest_samples"),
    "all_accuracy": _ACCURACY.format(source="all_samples"),
    "tool_use": _TOOL_USE,
    "costs": _COSTS,
}
"""Views over other views, each behind those that it is made of."""
