"""The figures of a dataset version, each with the SQL query that computes it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.page.report import EXECUTIONS, YIELD, of_version
from storage.datasets import Store
from storage.literals import literal
from storage.places import shown
from storage.sql import query
from storage.versions import DatasetVersion
from storage.view_texts import UNSCORED
from tirgen.jobs.budget import MILLION, Price

_LISTED = (
    "trajectory_id, difficulty, correct, ending, n_calls, n_failed_calls, n_corrections, "
    "final_answer, gold_answer, question"
)
_JUDGED = f"ending NOT IN ({UNSCORED})"

OUTCOMES = """SELECT program, ending, count(*) AS rows, count(*) FILTER (correct) AS correct,
    count(*) FILTER (kept) AS kept
FROM all_samples WHERE {version} GROUP BY ALL ORDER BY program DESC, rows DESC, ending"""
COST = """SELECT program, sum(actor_calls + critic_calls)::BIGINT AS calls,
    sum(actor_prompt_tokens)::BIGINT AS actor_prompt, sum(actor_completion_tokens)::BIGINT AS actor,
    sum(critic_prompt_tokens)::BIGINT AS critic_prompt,
    sum(critic_completion_tokens)::BIGINT AS critic,
    round(sum(llm_seconds), 1) AS llm_seconds, round(sum(sandbox_seconds), 1) AS sandbox_seconds,
    {money} AS money
FROM all_samples WHERE {version} GROUP BY ALL ORDER BY program DESC"""
EVALUATION = """SELECT benchmark, figure, value, low, high, problems, samples
FROM evaluations WHERE {version} ORDER BY benchmark, figure"""
WORST = f"""SELECT {_LISTED} FROM all_trajectories WHERE {{version}} AND {_JUDGED} AND NOT correct
ORDER BY n_failed_calls DESC, n_policy_tokens DESC, trajectory_id LIMIT 5"""
INTERESTING = f"""SELECT {_LISTED} FROM all_trajectories WHERE {{version}} AND {_JUDGED} AND correct
ORDER BY n_corrections DESC, n_failed_calls DESC, n_calls DESC, trajectory_id LIMIT 5"""


@dataclass(frozen=True)
class Figure:
    """One table of a summary."""

    title: str
    sql: str
    rows: Sequence[dict[str, Any]]
    store: Path

    @property
    def command(self) -> str:
        """The command that prints these rows again, with the line breaks of the SQL."""
        return f"tirgen sql {_quoted(self.sql)} --store {shlex.quote(shown(self.store))}"


class Figures:
    """The figures of one version, each queried on first use."""

    def __init__(
        self, store: Store, version: DatasetVersion, prices: Mapping[str, Price] | None = None
    ) -> None:
        """`prices` by model name; without them the cost in money is NULL."""
        self._store = store
        self._prices = prices or {}
        self._source = of_version(version)

    def _ask(self, title: str, template: str) -> Figure:
        sql = self._source.fill(template)
        return Figure(title, sql, query(self._store, sql).to_pylist(), self._store.root)

    @cached_property
    def yields(self) -> Figure:
        return self._ask("Yield by filter", YIELD)

    @cached_property
    def outcomes(self) -> Figure:
        return self._ask("Outcomes", OUTCOMES)

    @cached_property
    def executions(self) -> Figure:
        return self._ask("Executions", EXECUTIONS)

    @cached_property
    def cost(self) -> Figure:
        return self._ask("Tokens, time and money", COST.replace("{money}", _money(self._prices)))

    @cached_property
    def evaluation(self) -> Figure:
        """The results of a policy on benchmarks, with intervals."""
        return self._ask("Figures with their intervals", EVALUATION)

    @cached_property
    def worst(self) -> Figure:
        return self._ask("Five worst", WORST)

    @cached_property
    def interesting(self) -> Figure:
        return self._ask(
            "Five most interesting (right after failures, or by many programs)", INTERESTING
        )


def _money(prices: Mapping[str, Price]) -> str:
    """The cost of the rows as SQL; NULL without prices."""
    parts = [
        f"sum({role}_prompt_tokens * {price.prompt} + {role}_completion_tokens * "
        f"{price.completion}) FILTER ({role}_model = {literal(model)})"
        for role in ("actor", "critic")
        for model, price in prices.items()
    ]
    priced = " + ".join(f"coalesce({part}, 0)" for part in parts)
    return f"round(({priced}) / {MILLION}, 6)" if parts else "NULL"


def _quoted(sql: str) -> str:
    """Quoted for a shell; in double quotes if possible, since SQL is full of single quotes."""
    return shlex.quote(sql) if set(sql) & set('"$`\\!') else f'"{sql}"'
