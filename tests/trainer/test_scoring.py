"""Scores against a plain forward pass, and kinds against where the fences stand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from storage.records import Outcome, Step, TokenStream, Trajectory
from tests.trainer.tiny_policy import VOCABULARY, logprobs, trajectory
from trainer.scoring import Document, ResponsePart, StepPart, from_stream, from_text, likelihoods

ALPHABET = " abcdefghijklmnopqrstuvwxyz0123456789`\n()+.=$"
THOUGHT, PROGRAM, OUTPUT = "we add\n", "```python\nprint(1+1)\n```\n", "```output\n2\n```\n"
PIECES = [
    ResponsePart(StepPart.THOUGHT, THOUGHT),
    ResponsePart(StepPart.ACTION, PROGRAM),
    ResponsePart(None, OUTPUT),
    ResponsePart(StepPart.THOUGHT, "so it is 2."),
]
PROMPT = (1, 2, 3)


class Characters:
    """A tokenizer of one token a character."""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(ALPHABET.index(character) for character in text)

    def decode(self, token_ids: tuple[int, ...]) -> str:
        return "".join(ALPHABET[token] for token in token_ids)


CODEC = Characters()


def a_row() -> Trajectory:
    """Its stream says what its steps say, sampled in two goes around the output."""
    ids, mask = [*PROMPT], [False] * len(PROMPT)
    for kind, text in PIECES:
        ids += CODEC.encode(text)
        mask += [kind is not None] * len(text)
    stream = TokenStream(
        token_ids=tuple(ids),
        loss_mask=tuple(mask),
        logprobs=(None,) * len(ids),
        prompt_length=len(PROMPT),
    )
    steps = (
        Step(thought="we add", action="print(1+1)", observation="2", outcome=Outcome.OK),
        Step(thought="so it is 2."),
    )
    return replace(trajectory(0, "g", stream), steps=steps)


def actions(document: Document) -> str:
    """The text of the learned tokens that count as action."""
    learned = document.token_ids[document.learned][document.is_action]
    return CODEC.decode(tuple(learned.tolist()))


def test_the_alphabet_fits_the_policy() -> None:
    assert len(ALPHABET) <= VOCABULARY


def test_the_recorded_tokens_are_told_apart_by_the_fences() -> None:
    document = from_stream(a_row(), CODEC, None)
    assert document is not None
    assert actions(document) == PROGRAM.rstrip("\n")
    assert document.learned_count == sum(len(text) for kind, text in PIECES if kind)


def test_text_read_by_the_same_tokenizer_is_the_same_tokens() -> None:
    recorded, reread = from_stream(a_row(), CODEC, None), from_text(a_row(), PIECES, CODEC, PROMPT)
    assert recorded is not None
    assert recorded.token_ids.tolist() == reread.token_ids.tolist()
    assert recorded.learned.tolist() == reread.learned.tolist()


def test_another_prompt_leaves_the_response_alone() -> None:
    document = from_stream(a_row(), CODEC, (7, 7, 7, 7))
    assert document is not None
    assert document.token_ids[:4].tolist() == [7] * 4
    assert actions(document) == PROGRAM.rstrip("\n")


def test_tokens_of_another_tokenizer_are_not_used() -> None:
    row = a_row()
    shifted = tuple((token + 5) % len(ALPHABET) for token in row.tokens.token_ids)
    assert (
        from_stream(replace(row, tokens=replace(row.tokens, token_ids=shifted)), CODEC, None)
        is None
    )
    assert from_stream(replace(row, tokens=TokenStream()), CODEC, None) is None


def test_likelihoods_are_those_of_a_plain_forward_pass(policy: Path) -> None:
    document = from_text(a_row(), PIECES, CODEC, PROMPT)
    short = from_text(a_row(), PIECES[:1], CODEC, PROMPT)
    found = likelihoods([short, document], policy)
    model = Qwen3ForCausalLM.from_pretrained(policy)
    plain: dict[bool, list[float]] = {True: [], False: []}
    for each in (document, short):
        said = logprobs(model, each.token_ids.tolist())[each.learned[1:]]
        for action in (True, False):
            plain[action] += said[each.is_action == action].tolist()
    for kind, action in ((StepPart.ACTION, True), (StepPart.THOUGHT, False)):
        assert found[kind].tokens == len(plain[action])
        assert found[kind].mean_logprob == pytest.approx(
            sum(plain[action]) / len(plain[action]), abs=1e-5
        )


def test_data_without_programs_has_no_action_figure(policy: Path) -> None:
    found = likelihoods([from_text(a_row(), PIECES[:1], CODEC, PROMPT)], policy)
    assert found[StepPart.ACTION].tokens == 0
    assert math.isnan(found[StepPart.ACTION].mean_logprob)


def test_what_a_policy_finds_likeliest_scores_higher_than_chance(policy: Path) -> None:
    model = Qwen3ForCausalLM.from_pretrained(policy)
    ids = [*PROMPT]
    for _ in range(30):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1, : len(ALPHABET)].argmax()))
    own = [ResponsePart(StepPart.THOUGHT, CODEC.decode(tuple(ids[len(PROMPT) :])))]
    likely, chance = (
        likelihoods([from_text(a_row(), pieces, CODEC, PROMPT)], policy)[StepPart.THOUGHT]
        for pieces in (own, PIECES)
    )
    assert likely.mean_logprob > chance.mean_logprob + 0.5
