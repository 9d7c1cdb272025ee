"""Stored rows as training samples: token ids, and which of them are learned.

Masks are taken as they were recorded when the tokens were produced, never rebuilt from text (D1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from storage.records import Level, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One document of a training batch."""

    sample_id: str
    """The trajectory's id."""
    token_ids: Tensor
    """int32, length n."""
    learned: Tensor
    """bool, length n: the loss counts this token. Never true for the first, which nothing
    predicts."""

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.learned):
            raise ValueError(f"{self.sample_id}: token ids and mask differ in length")
        if not self.learned.any() or self.learned[0]:
            raise ValueError(
                f"{self.sample_id}: a sample needs a prompt and at least one token to learn"
            )

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def learned_count(self) -> int:
        return int(self.learned.sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout(Sample):
    """A sample with what the policy update needs beside its tokens."""

    level: Level
    advantage: float
    sampler_logprobs: Tensor
    """float32, one per learned token: what the engine sampled them with."""


S = TypeVar("S", bound=Sample)

Prompts = Callable[[str], Sequence[int]] | Mapping[str, Sequence[int]]
"""From a question to the token ids of the prompt that is to stand before its solution."""


def in_order(samples: Iterable[S]) -> list[S]:
    """By id: rows lie in the order in which they were finished, which no seed decides."""
    return sorted(samples, key=lambda sample: sample.sample_id)


def sft_samples(
    rows: Iterable[Trajectory], prompts: Prompts | None = None, learn_observations: bool = False
) -> Iterator[Sample]:
    """The kept trajectories as samples for supervised fine-tuning (spec §4, eq. 3).

    `prompts` exchanges the prompt that the actor had for the one the policy will have: data made
    with the chain-of-thought prompt teaches the tool-integrated one. `learn_observations` also
    trains on what the executor wrote, as the paper's equation reads (A14).

    Raises ValueError where a question has no prompt, or a row has no token ids.
    """
    for row in rows:
        if not row.kept or row.level is not Level.TRAJECTORY:
            continue
        stream = row.tokens
        if not stream.token_ids:
            raise ValueError(
                f"{row.trajectory_id} has no token ids: it came from a chat-only endpoint "
                f"({row.provenance.engine}); generate with an engine that returns them"
            )
        response = stream.token_ids[stream.prompt_length :]
        mask = stream.loss_mask[stream.prompt_length :]
        head = stream.token_ids[: stream.prompt_length]
        if prompts is not None:
            head = tuple(_prompt(prompts, row.problem.question))
        learned = [True] * len(response) if learn_observations else list(mask)
        yield Sample(
            sample_id=row.trajectory_id,
            token_ids=torch.tensor((*head, *response), dtype=torch.int32),
            learned=torch.tensor([False] * len(head) + learned),
        )


def _prompt(prompts: Prompts, question: str) -> Sequence[int]:
    if callable(prompts):
        return prompts(question)
    if question not in prompts:
        raise ValueError(f"no prompt was given for the question {question[:80]!r}")
    return prompts[question]


def rollouts(rows: Iterable[Trajectory], advantages: Mapping[str, float]) -> Iterator[Rollout]:
    """The rows that have an advantage, with what the sampler said of their tokens.

    Raises ValueError for rows whose tokens were not all drawn from the policy's own distribution,
    at temperature 1: the importance ratio would be biased.
    """
    for row in rows:
        if row.trajectory_id not in advantages:
            continue
        _require_plain_sampling(row.provenance.sampling)
        stream = row.tokens
        learned = torch.tensor(stream.loss_mask)
        logprobs = [p for p, own in zip(stream.logprobs, stream.loss_mask, strict=True) if own]
        if None in logprobs:
            raise ValueError(
                f"{row.trajectory_id} has tokens that its policy did not sample; "
                "train on rollouts, not on trajectories that a critic rewrote"
            )
        yield Rollout(
            sample_id=row.trajectory_id,
            token_ids=torch.tensor(stream.token_ids, dtype=torch.int32),
            learned=learned,
            level=row.level,
            advantage=advantages[row.trajectory_id],
            sampler_logprobs=torch.tensor(logprobs, dtype=torch.float32),
        )


@cache
def _require_plain_sampling(sampling: str) -> None:
    """Refuse what cuts or bends the distribution that log-probabilities are reported of."""
    said = json.loads(sampling)
    bent = {
        name: said[name]
        for name, plain in (("temperature", (1,)), ("top_p", (1,)), ("top_k", (0, -1)))
        if name in said and said[name] not in plain
    }
    if bent:
        raise ValueError(
            f"the rollouts were sampled with {bent}, which biases the importance ratio; "
            "roll out with temperature 1, top_p 1 and top_k 0"
        )
