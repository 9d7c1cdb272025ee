"""Packing changes speed and memory, never what a document is scored with."""

import random
from pathlib import Path

import pytest
import torch

from trainer.model import Scorer, load_policy, recompute_activations
from trainer.packing import blank, collate, deal, pack
from trainer.samples import Sample
from trainer.settings import ModelConfig, Packing

LAYOUTS = [
    Packing(row_tokens=64, batch_tokens=128),
    Packing(row_tokens=1, batch_tokens=96),
    Packing(row_tokens=200, batch_tokens=200),
]


@pytest.fixture(scope="module")
def documents() -> list[Sample]:
    generator = torch.Generator().manual_seed(0)
    return [document(n, generator) for n in (5, 2, 20, 3, 31, 12, 7, 14, 1 + 1, 50)]


def document(length: int, generator: torch.Generator) -> Sample:
    learned = torch.rand(length, generator=generator) > 0.3
    learned[0], learned[-1] = False, True
    ids = torch.randint(48, (length,), generator=generator, dtype=torch.int32)
    return Sample(sample_id=str(length), token_ids=ids, learned=learned)


@pytest.mark.parametrize("packing", LAYOUTS)
def test_every_document_is_scored_as_if_it_were_alone(
    policy: Path, documents: list[Sample], packing: Packing
) -> None:
    scorer = Scorer(load_policy(policy, ModelConfig(), seed=0))
    for rows in pack(documents, packing):
        batch = collate(rows)
        alone = [scorer(*collate([[sample]])[:3]).logprobs for sample in batch.samples]
        together = scorer(*batch[:3]).logprobs
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=5e-6)


def test_what_lies_before_a_document_in_its_row_does_not_reach_it(
    policy: Path, documents: list[Sample]
) -> None:
    """The gradient of one document's score at the embeddings of its neighbour is exactly 0."""
    first, second = documents[0], documents[2]
    model = load_policy(policy, ModelConfig(), seed=0)
    batch = collate([[first, second]])
    seen: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        seen.append(output)
        output.retain_grad()

    hook = model.get_input_embeddings().register_forward_hook(keep)
    Scorer(model)(*batch[:3]).logprobs[first.learned_count :].sum().backward()
    hook.remove()
    reached = seen[0].grad.abs().sum(-1)[0]
    assert (reached[: len(first)] == 0).all()
    assert (reached[len(first) : -1] > 0).all()


def test_few_logit_rows_at_a_time_change_neither_score_nor_gradient(
    policy: Path, documents: list[Sample]
) -> None:
    batch = collate([documents])
    gradients = []
    for rows in (7, 10_000):
        scorer = Scorer(load_policy(policy, ModelConfig(), seed=0), logit_rows=rows)
        scorer(*batch[:3]).logprobs.square().sum().backward()
        gradients.append([weight.grad for weight in scorer.parameters()])
    for few, many in zip(*gradients, strict=True):
        torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-5)


def test_checkpointed_activations_change_no_gradient(policy: Path, documents: list[Sample]) -> None:
    batch, gradients = collate([documents]), []
    for again in (False, True):
        model = load_policy(policy, ModelConfig(), seed=0)
        if again:
            recompute_activations(model)
        Scorer(model)(*batch[:3]).logprobs.sum().backward()
        gradients.append([weight.grad for weight in model.parameters()])
        if again:
            assert model.model.layers[0].gradient_checkpointing
            assert model.model.layers[0].training
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed)


def test_entropy_is_that_of_the_predicted_distribution(
    policy: Path, documents: list[Sample]
) -> None:
    model, sample = load_policy(policy, ModelConfig(), seed=0), documents[2]
    with torch.no_grad():
        found = Scorer(model)(*collate([[sample]])[:3]).entropies
        logits = model(sample.token_ids[None].long()).logits[0, :-1]
    wanted = torch.distributions.Categorical(logits=logits).entropy()[sample.learned[1:]]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_every_document_is_packed_once_within_the_budget() -> None:
    generator, rng = torch.Generator().manual_seed(1), random.Random(1)
    samples = [document(rng.randint(2, 90), generator) for _ in range(500)]
    packing = Packing(row_tokens=64, batch_tokens=256)
    packed = pack(samples, packing)
    laid = [sample for rows in packed for row in rows for sample in row]
    assert sorted(map(id, laid)) == sorted(map(id, samples))
    for rows in packed:
        lengths = [sum(map(len, row)) for row in rows]
        assert len(rows) * max(lengths) <= 256
        assert all(len(row) == 1 for row, n in zip(rows, lengths, strict=True) if n > 64)


@pytest.mark.parametrize("packing", LAYOUTS)
def test_padding_and_prompts_are_never_learned(documents: list[Sample], packing: Packing) -> None:
    """Method D10: a padding token behind each step was trained on. What a batch learns is, in
    order, what its samples learn."""
    for rows in pack(documents, packing):
        batch = collate(rows)
        own = [sample.token_ids[sample.learned] for sample in batch.samples]
        assert torch.equal(batch.token_ids[batch.learned], torch.cat(own).long())


def test_every_process_gets_as_many_micro_batches() -> None:
    generator = torch.Generator().manual_seed(2)
    packed = pack(
        [document(30, generator) for _ in range(5)], Packing(row_tokens=1, batch_tokens=30)
    )
    parts = [deal(packed, rank, 3) for rank in range(3)]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert [sum(len(batch.samples) for batch in part) for part in parts] == [2, 2, 1]


def test_a_blank_batch_reaches_every_weight_with_a_gradient_of_zero(policy: Path) -> None:
    """What keeps a process without data in step with the others."""
    scorer = Scorer(load_policy(policy, ModelConfig(), seed=0))
    scorer(*blank()[:3]).logprobs.sum().backward()
    assert all(weight.grad is not None for weight in scorer.parameters())
    assert all(not weight.grad.any() for weight in scorer.parameters())
