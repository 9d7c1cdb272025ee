"""Preference pairs: a better and a worse answer to one prompt, for DPO and reward models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import pyarrow as pa

from storage.exports.common import Row, Texts, about, with_about
from storage.records import Level, Trajectory

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
PAIRS = with_about(
    ("prompt", _TURNS),
    ("chosen", _TURNS),
    ("rejected", _TURNS),
    ("rejected_id", pa.string()),
    ("rejected_answer", pa.string()),
)
STEP_PAIRS = with_about(
    ("prompt_ids", pa.list_(pa.int32())),
    ("chosen_ids", pa.list_(pa.int32())),
    ("rejected_ids", pa.list_(pa.int32())),
    ("chosen", pa.string()),
    ("rejected", pa.string()),
    ("rejected_id", pa.string()),
)


def pairs(trajectories: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """A kept right answer and a wrong one to the same problem by the same program.

    The n-th right one is paired with the n-th wrong one in the order of attempts. Rows without a
    reward (infrastructure failure, gold answer not verifiable) are in no pair.
    """
    whole = (row for row in trajectories if row.level is Level.TRAJECTORY)
    for _, group in groupby(whole, key=lambda row: (row.problem.problem_id, row.program)):
        for right, wrong in _paired(group):
            user = {"role": "user", "content": texts.tool_prompt(right.problem)}
            yield {
                "prompt": [user],
                "chosen": [{"role": "assistant", "content": texts.response(right.steps)}],
                "rejected": [{"role": "assistant", "content": texts.response(wrong.steps)}],
                "rejected_id": wrong.trajectory_id,
                "rejected_answer": wrong.final_answer,
                **about(right),
            }


def step_pairs(trajectories: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """A suffix whose program ran and one whose program failed, from the same prefix of a step.

    Prompts are token ids, because a prefix ends inside the assistant's turn, which no chat template
    can render.
    """
    branches = (row for row in trajectories if row.level is Level.STEP and row.tokens.token_ids)
    for group in _by_prefix(branches):
        for ran, failed in _paired(group):
            prompt = ran.tokens.prompt_length
            yield {
                "prompt_ids": list(ran.tokens.token_ids[:prompt]),
                "chosen_ids": list(ran.tokens.token_ids[prompt:]),
                "rejected_ids": list(failed.tokens.token_ids[failed.tokens.prompt_length :]),
                "chosen": texts.response(ran.steps),
                "rejected": texts.response(failed.steps),
                "rejected_id": failed.trajectory_id,
                **about(ran),
            }


def _by_prefix(branches: Iterable[Trajectory]) -> Iterator[list[Trajectory]]:
    """The branches of each prefix; in memory are those of one problem."""
    for _, of_problem in groupby(branches, key=lambda row: row.problem.problem_id):
        for _, group in groupby(sorted(of_problem, key=_group), key=_group):
            yield list(group)


def _group(row: Trajectory) -> str:
    return row.group_id or ""


def _paired(group: Iterable[Trajectory]) -> Iterator[tuple[Trajectory, Trajectory]]:
    rows = list(group)
    right = [row for row in rows if row.reward == 1 and row.kept]
    wrong = [row for row in rows if row.reward == 0]
    return zip(right, wrong, strict=False)
