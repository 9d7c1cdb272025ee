"""Log-probabilities that a policy gives to data, by kind of token.

Teacher-forced: every recorded token is scored given all tokens before it. This measures TIRGen's
claim that its data stays close to the actor's distribution, and allows comparison with other data.

Limit: only the policy's plain distribution is scored, without temperature or nucleus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from transformers.utils import logging

from storage.records import Trajectory
from trainer.distributed import uses_half
from trainer.model import Scorer, load_policy, score
from trainer.packing import collate, pack
from trainer.samples import Sample
from trainer.settings import ModelConfig, Packing

_FENCE = "```"


class StepPart(StrEnum):
    """The part of a step that a token belongs to (eq. 1)."""

    THOUGHT = "thought"
    ACTION = "action"
    """The program with its fences."""


class ResponsePart(NamedTuple):
    """A part of a response as text; its kind is None where the executor wrote it."""

    kind: StepPart | None
    text: str


class Codec(Protocol):
    """The policy's own tokenizer."""

    def encode(self, text: str) -> tuple[int, ...]: ...

    def decode(self, token_ids: tuple[int, ...]) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Document(Sample):
    """A sample whose learned tokens are those of the policy, each with its kind."""

    is_action: Tensor
    """bool, one per learned token."""


class Likelihood(NamedTuple):
    """The result for the tokens of one kind."""

    tokens: int
    mean_logprob: float
    """In nats; nan where there are no tokens."""


def from_stream(row: Trajectory, codec: Codec, prompt: Sequence[int] | None) -> Document | None:
    """The recorded tokens, with another prompt if one is given.

    None if there are none, or if they belong to another tokenizer: decoded, they do not contain the
    programs of the steps.
    """
    stream = row.tokens
    start = stream.prompt_length
    response, mask = stream.token_ids[start:], stream.loss_mask[start:]
    head = tuple(stream.token_ids[:start] if prompt is None else prompt)
    actions = [step.action for step in row.steps if step.action]
    is_action: list[bool] = []
    position = 0
    for own, group in groupby(mask):
        length = len(list(group))
        if own:
            run = response[position : position + length]
            is_action += _actions_in(run, actions, codec)
        position += length
    if actions or not is_action:
        return None
    return _document(row, head, response, mask, is_action)


def from_text(
    row: Trajectory, pieces: Iterable[ResponsePart], codec: Codec, prompt: Sequence[int]
) -> Document:
    """A response tokenised piece by piece with the policy's tokenizer."""
    response: list[int] = []
    mask: list[bool] = []
    is_action: list[bool] = []
    for kind, text in pieces:
        ids = codec.encode(text)
        response += ids
        mask += [kind is not None] * len(ids)
        is_action += [kind is StepPart.ACTION] * len(ids) if kind is not None else []
    return _document(row, tuple(prompt), response, mask, is_action)


def likelihoods(
    documents: Sequence[Document],
    policy: Path,
    count: Callable[[int, int], None] = lambda done, total: None,
) -> dict[StepPart, Likelihood]:
    """The mean log-probability of the policy's tokens by kind, over all documents together.

    Raises OSError if `policy` is no model folder.
    """
    logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = ModelConfig()
    scorer = Scorer(load_policy(policy, config, seed=0), uses_half(config, device)).eval()
    scorer.to(device)
    logprobs, actions = [], []
    for scored, which in _scored(documents, scorer, device, count):
        logprobs.append(scored)
        actions.append(which)
    return _by_kind(torch.cat(logprobs), torch.cat(actions))


def _scored(
    documents: Sequence[Document],
    scorer: Scorer,
    device: torch.device,
    count: Callable[[int, int], None],
) -> Iterator[tuple[Tensor, Tensor]]:
    done = 0
    for rows in pack(documents, Packing()):
        batch = collate(rows)
        with torch.no_grad():
            found = score(scorer, batch, device).logprobs.double().cpu()
        done += len(batch.samples)
        count(done, len(documents))
        yield found, torch.cat([document.is_action for document in batch.samples])


def _by_kind(logprobs: Tensor, is_action: Tensor) -> dict[StepPart, Likelihood]:
    chosen = {StepPart.THOUGHT: logprobs[~is_action], StepPart.ACTION: logprobs[is_action]}
    return {kind: Likelihood(len(of), float(of.mean())) for kind, of in chosen.items()}


def _document(
    row: Trajectory,
    head: tuple[int, ...],
    response: Sequence[int],
    mask: Sequence[bool],
    is_action: list[bool],
) -> Document:
    return Document(
        sample_id=row.trajectory_id,
        token_ids=torch.tensor((*head, *response), dtype=torch.int32),
        learned=torch.tensor([False] * len(head) + list(mask)),
        is_action=torch.tensor(is_action),
    )


def _actions_in(run: tuple[int, ...], actions: list[str], codec: Codec) -> list[bool]:
    """For each token of a part that the policy wrote, whether it belongs to a program.

    Programs that are found are removed from the front of `actions`.
    """
    text, is_action, cursor = codec.decode(run), [False] * len(run), 0
    while actions and (at := text.find(actions[0], cursor)) >= 0:
        opening = text.rfind(_FENCE, cursor, at)
        closing = text.find(_FENCE, at + len(actions[0]))
        start = _token_at(run, at if opening < 0 else opening, codec)
        cursor = len(text) if closing < 0 else closing + len(_FENCE)
        end = _token_at(run, cursor, codec)
        is_action[start:end] = [True] * (end - start)
        actions.pop(0)
    return is_action


def _token_at(run: tuple[int, ...], character: int, codec: Codec) -> int:
    """The first token that ends after `character` characters, by bisection."""
    low, high = 0, len(run)
    while low < high:
        middle = (low + high) // 2
        if len(codec.decode(run[: middle + 1])) > character:
            high = middle
        else:
            low = middle + 1
    return low
