"""Packing changes speed and memory, never what a document is scored with."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from storage.records import Level
from tests.trainer.families import write_family
from trainer.model import (
    Scorer,
    empty_policy,
    load_policy,
    recompute_activations,
    sharing_cost,
)
from trainer.packing import PackingCost, Tree, alone, blank, collate, deal, pack
from trainer.samples import Rollout, Sample
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
        wanted = [scorer(*collate([[alone(sample)]])[:3]).logprobs for sample in batch.samples]
        together = scorer(*batch[:3]).logprobs
        torch.testing.assert_close(together, torch.cat(wanted), rtol=0, atol=5e-6)


def test_what_lies_before_a_document_in_its_row_does_not_reach_it(
    policy: Path, documents: list[Sample]
) -> None:
    """The gradient of one document's score at the embeddings of its neighbour is exactly 0."""
    first, second = documents[0], documents[2]
    model = load_policy(policy, ModelConfig(), seed=0)
    batch = collate([[alone(first), alone(second)]])
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
    batch = collate([list(map(alone, documents))])
    gradients = []
    for rows in (7, 10_000):
        scorer = Scorer(load_policy(policy, ModelConfig(), seed=0), logit_rows=rows)
        scorer(*batch[:3]).logprobs.square().sum().backward()
        gradients.append([weight.grad for weight in scorer.parameters()])
    for few, many in zip(*gradients, strict=True):
        torch.testing.assert_close(few, many, rtol=1e-4, atol=2e-5)


def test_checkpointed_activations_change_no_gradient(policy: Path, documents: list[Sample]) -> None:
    batch, gradients = collate([list(map(alone, documents))]), []
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
        found = Scorer(model)(*collate([[alone(sample)]])[:3]).entropies
        logits = model(sample.token_ids[None].long()).logits[0, :-1]
    wanted = torch.distributions.Categorical(logits=logits).entropy()[sample.learned[1:]]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_every_document_is_packed_once_within_the_budget() -> None:
    generator, rng = torch.Generator().manual_seed(1), random.Random(1)
    samples = [document(rng.randint(2, 90), generator) for _ in range(500)]
    packing = Packing(row_tokens=64, batch_tokens=256)
    packed = pack(samples, packing)
    laid = [s for rows in packed for row in rows for tree in row for s in tree.samples]
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


CHEAP = PackingCost(token=1000.0, pair=1.0)
"""Attention costs little, so that whole groups share their prefix."""


def family(
    name: str, prefix: int, rests: list[int], level: Level = Level.TRAJECTORY
) -> list[Rollout]:
    """Rollouts of one group: a shared prompt, of which nothing is learned, and rests."""
    generator = torch.Generator().manual_seed(prefix)
    prompt = torch.randint(48, (prefix,), generator=generator, dtype=torch.int32)
    found = []
    for number, rest in enumerate(rests):
        tail = document(rest, generator)
        learned = torch.cat([torch.zeros(prefix, dtype=torch.bool), tail.learned])
        found.append(
            Rollout(
                sample_id=f"{name}{number}",
                token_ids=torch.cat([prompt, tail.token_ids]),
                learned=learned,
                level=level,
                group_id=name,
                advantage=1.0,
                sampler_logprobs=torch.zeros(int(learned.sum())),
            )
        )
    return found


GROUPS = [
    *family("a", 30, [5, 9, 20, 3]), *family("b", 12, [7, 7]), *family("c", 25, [11]),
    *family("a", 18, [4, 8, 6], Level.STEP),
]  # fmt: skip


def test_a_shared_prefix_is_computed_once() -> None:
    packed = pack(GROUPS, Packing(row_tokens=64, batch_tokens=256), CHEAP)
    trees = [tree for rows in packed for row in rows for tree in row]
    assert sorted(tree.shared for tree in trees) == [0, 12, 18, 30]
    laid = [sample for tree in trees for sample in tree.samples]
    assert sorted(map(id, laid)) == sorted(map(id, GROUPS))
    plain = sum(map(len, GROUPS))
    assert sum(map(len, trees)) == plain - 3 * 30 - 12 - 2 * 18


@pytest.mark.parametrize("family_name", ["qwen3", "llama", "gpt_neox", "granite"])
def test_what_shares_a_prefix_is_scored_and_learned_as_if_alone(
    tmp_path: Path, family_name: str
) -> None:
    folder = write_family(tmp_path / "model", family_name)
    gradients, scores = [], []
    for cost in (None, CHEAP):
        model = load_policy(folder, ModelConfig(), seed=0)
        scorer, found = Scorer(model), {}
        for rows in pack(GROUPS, Packing(row_tokens=64, batch_tokens=256), cost):
            batch = collate(rows)
            assert (batch.branches is not None) == any(t.shared for row in rows for t in row)
            logprobs = scorer(*batch[:4]).logprobs
            counts = [sample.learned_count for sample in batch.samples]
            for sample, part in zip(batch.samples, logprobs.split(counts), strict=True):
                found[sample.sample_id, sample.level] = part.detach()
                (part * torch.arange(1, len(part) + 1)).sum().backward(retain_graph=True)
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
        scores.append(found)
    for key, wanted in scores[0].items():
        torch.testing.assert_close(scores[1][key], wanted, rtol=0, atol=2e-6)
    for name, wanted in gradients[0].items():
        assert (gradients[1][name] - wanted).norm() <= 1e-6 * wanted.norm(), name


def test_a_branch_sees_its_prefix_and_no_other_branch(policy: Path) -> None:
    model = load_policy(policy, ModelConfig(), seed=0)
    first, second = family("a", 10, [6, 8])
    batch = collate([[Tree(9, (first, second)), alone(family("b", 4, [5])[0])]])
    seen: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        seen.append(output)
        output.retain_grad()

    hook = model.get_input_embeddings().register_forward_hook(keep)
    scores = Scorer(model)(*batch[:4]).logprobs.split([s.learned_count for s in batch.samples])
    scores[1].sum().backward()
    hook.remove()
    reached = seen[0].grad.abs().sum(-1)[0] > 0
    # The prefix, nothing of the first, the second but for its last token, nothing of the third.
    assert reached.tolist() == [True] * 9 + [False] * 7 + [True] * 8 + [False] + [False] * 9


def test_no_learned_token_is_shared_and_each_has_its_predecessor_beside_it() -> None:
    same = family("a", 6, [9])[0]
    twin = replace(same, sample_id="twin")
    [[[tree]]] = pack([same, twin], Packing(), CHEAP)
    first = int(same.learned.int().argmax())
    assert tree.shared == first - 1
    batch = collate([[tree]])
    assert batch.learned.sum() == 2 * same.learned_count
    assert not batch.learned[0, [*batch.starts]].any()


def test_prefixes_are_shared_only_where_that_costs_less() -> None:
    """Attention under a mask pays for the whole row: long replies behind a short prompt go alone,
    short branches behind a long prefix together, and in between some."""
    cost = PackingCost(token=400_000, pair=512)
    rollouts, branches = family("a", 20, [900] * 8), family("b", 400, [30] * 8)
    between = family("c", 300, [200] * 8)

    def sizes(samples: list[Rollout]) -> set[int]:
        packed = pack(samples, Packing(row_tokens=1, batch_tokens=1), cost)
        return {len(tree.samples) for rows in packed for row in rows for tree in row}

    assert sizes(rollouts) == {1}
    assert sizes(branches) == {8}
    assert sizes(between) <= {2, 3, 4}


@pytest.mark.parametrize("name", ["mistral", "cohere2", "gemma2", "smollm3"])
def test_models_with_windows_share_nothing(tmp_path: Path, name: str) -> None:
    empty = empty_policy(write_family(tmp_path / name, name), ModelConfig(), seed=0)
    shares = name == "smollm3"
    assert (sharing_cost(empty, Packing()) is not None) == shares


def test_sharing_can_be_switched_off(policy: Path) -> None:
    empty = empty_policy(policy, ModelConfig(), seed=0)
    assert sharing_cost(empty, Packing()) is not None
    assert sharing_cost(empty, Packing(share_prefixes=False)) is None
    eager = empty_policy(policy, ModelConfig(attention="eager"), seed=0)
    assert sharing_cost(eager, Packing()) is None
