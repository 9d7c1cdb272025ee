"""Problems for verl's RL trainer: one row per problem, with the gold answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import pyarrow as pa

from storage.exports.common import Row, Texts, schema
from storage.records import Trajectory

VERL = schema(
    ("data_source", pa.string()),
    ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ("ability", pa.string()),
    ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
    (
        "extra_info",
        pa.struct(
            [
                ("index", pa.int64()),
                ("problem_id", pa.string()),
                ("difficulty", pa.string()),
                ("question", pa.string()),
                ("pass_rate", pa.float64()),
            ]
        ),
    ),
)


def verl(trajectories: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """One row for each problem; `pass_rate` is the share of its judged trajectories that are right,
    by which RL can skip problems that are always or never solved."""
    by_problem = groupby(trajectories, key=lambda row: row.problem.problem_id)
    for index, (problem_id, group) in enumerate(by_problem):
        rows = list(group)
        problem = rows[0].problem
        rewards = [row.reward for row in rows if row.reward is not None]
        yield {
            "data_source": problem.source,
            "prompt": [{"role": "user", "content": texts.tool_prompt(problem)}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": problem.answer},
            "extra_info": {
                "index": index,
                "problem_id": problem_id,
                "difficulty": problem.difficulty,
                "question": problem.question,
                "pass_rate": sum(rewards) / len(rewards) if rewards else None,
            },
        }
