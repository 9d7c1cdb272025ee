"""The objective against numbers worked out by hand, and against its own equations."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from storage.records import Level
from trainer.hierarchical import Tokens, hierarchical_loss, means, token_sums, weights
from trainer.samples import Rollout
from trainer.settings import Aggregation, Importance, LossConfig, Surrogate


def rollout(tokens: int, advantage: float, level: Level = Level.TRAJECTORY) -> Rollout:
    return Rollout(
        sample_id=f"{level}{tokens}{advantage}",
        token_ids=torch.zeros(tokens + 1, dtype=torch.int32),
        learned=torch.tensor([False] + [True] * tokens),
        level=level,
        group_id="g",
        advantage=advantage,
        sampler_logprobs=torch.zeros(tokens),
    )


def tokens_of(
    update: Sequence[Rollout], config: LossConfig, old: Tensor, sampler: Tensor | None = None
) -> Tokens:
    counts = torch.tensor([sample.learned_count for sample in update])
    factors = weights(update, config)

    def spread(values: list[float]) -> Tensor:
        return torch.tensor(values).repeat_interleave(counts)

    return Tokens(
        advantages=spread([sample.advantage for sample in update]),
        policy_weights=spread([factor.policy for factor in factors]),
        nll_weights=spread([factor.nll for factor in factors]),
        steps=spread([float(sample.level is Level.STEP) for sample in update]).bool(),
        sequences=torch.arange(len(update)).repeat_interleave(counts),
        sampler_logprobs=old if sampler is None else sampler,
        old_logprobs=old,
        entropies=torch.ones_like(old),
    )


UPDATE = [rollout(4, 0.5), rollout(1, -1.0), rollout(2, 2.0, Level.STEP)]


def loss_where_nothing_moved(config: LossConfig) -> float:
    """At ratio 1 the clipped loss of a token is minus its advantage; log-probabilities are -1."""
    old = torch.full((7,), -1.0)
    return float(hierarchical_loss(old, tokens_of(UPDATE, config, old), config).item())


@pytest.mark.parametrize(
    ("aggregation", "step_weight", "wanted"),
    [
        # All tokens alike: -(2 - 1 + 4) / 7.
        (Aggregation.TOKEN_MEAN, 1.0, -5 / 7),
        # A step token counts three times: -(2 - 1 + 12) / (5 + 6).
        (Aggregation.TOKEN_MEAN, 3.0, -13 / 11),
        # Trajectories: -(4 * 0.5 - 1) / 5; step: -2.
        (Aggregation.TOKEN_MEAN, "equal_levels", -0.2 - 2.0),
        # Three sequences: -(0.5 - 1 + 2) / 3.
        (Aggregation.SEQ_MEAN_TOKEN_MEAN, 1.0, -0.5),
        # Trajectories: -(0.5 - 1) / 2; step: -2.
        (Aggregation.SEQ_MEAN_TOKEN_MEAN, "equal_levels", 0.25 - 2.0),
    ],
)
def test_each_aggregation_is_the_mean_it_names(
    aggregation: Aggregation, step_weight: Any, wanted: float
) -> None:
    config = LossConfig(aggregation=aggregation, step_weight=step_weight, nll=0)
    assert loss_where_nothing_moved(config) == pytest.approx(wanted)


@pytest.mark.parametrize(("step_weight", "nll"), [(1.0, 0.01), (0.3, 0.01), ("equal_levels", 0.02)])
def test_the_nll_is_a_mean_over_positive_tokens(step_weight: Any, nll: float) -> None:
    """Log-probabilities of -1 make the NLL 1, of each level alone too (method A4)."""
    found = [
        loss_where_nothing_moved(LossConfig(nll=nll, step_weight=step_weight)) for nll in (0.01, 0)
    ]
    assert found[0] - found[1] == pytest.approx(nll)


@pytest.mark.parametrize("step_weight", [0.5, 1.0, "equal_levels"])
def test_an_empty_level_leaves_the_other_as_it_is(step_weight: Any) -> None:
    config, old = LossConfig(step_weight=step_weight), torch.full((5,), -1.0)
    trajectories = UPDATE[:2]
    found = hierarchical_loss(old, tokens_of(trajectories, config, old), config).item()
    assert found == pytest.approx(-0.2 + 0.01)


COUNTS = [(4, 2), (16, 16), (6400, 1), (1, 40)]
"""Trajectories and branches of an update; 6400 and 1 as late in a training."""


@pytest.mark.parametrize("aggregation", Aggregation)
@pytest.mark.parametrize("step_weight", [0.25, 1.0, 2.0])
@pytest.mark.parametrize(("trajectories", "branches"), COUNTS)
def test_no_count_changes_what_a_step_token_weighs(
    aggregation: Aggregation, step_weight: float, trajectories: int, branches: int
) -> None:
    """lambda is the ratio of the gradients of two tokens with the same advantage, in sequences of
    the same length. Under a mean of each level it was 5 in the pocket and 747 late in a training.
    """
    update = [rollout(7, 1.0)] * trajectories + [rollout(7, 1.0, Level.STEP)] * branches
    config = LossConfig(step_weight=step_weight, aggregation=aggregation)
    old = torch.full((7 * len(update),), -1.0)
    logprobs = old.clone().requires_grad_()
    hierarchical_loss(logprobs, tokens_of(update, config, old), config).backward()
    assert logprobs.grad is not None
    assert logprobs.grad[-1] / logprobs.grad[0] == pytest.approx(step_weight, rel=1e-5)
    # A mean: the weights of all tokens add up to 1, so that no count changes the gradient's size.
    assert logprobs.grad.sum().item() == pytest.approx(-1.01, rel=1e-4)


def test_with_equal_levels_a_step_token_weighs_more_the_fewer_there_are() -> None:
    """The paper's equation as it reads (method A2)."""
    config = LossConfig(step_weight="equal_levels")
    update = [rollout(1000, 0.5), rollout(5, -1.0), *UPDATE[2:]]
    first, _, step = (factor.policy for factor in weights(update, config))
    assert step / first == pytest.approx(1005 / 2)


def one_token(advantage: float, new: float, old: float, sampler: float) -> tuple[float, float]:
    """Loss and gradient of a lone token without NLL."""
    config, update = LossConfig(nll=0), [rollout(1, advantage)]
    tokens = tokens_of(update, config, torch.tensor([old]), torch.tensor([sampler]))
    logprob = torch.tensor([new], requires_grad=True)
    loss = hierarchical_loss(logprob, tokens, config)
    loss.backward()
    assert logprob.grad is not None
    return loss.item(), logprob.grad.item()


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "gradient"),
    [
        (1.0, 2.0, -1.28, 0.0),
        (1.0, 0.5, -0.5, -0.5),
        (-1.0, 0.5, 0.8, 0.0),
        (-1.0, 2.0, 2.0, 2.0),
        (-1.0, 10.0, 3.0, 0.0),
    ],
)
def test_clipped_tokens_have_no_gradient(
    advantage: float, ratio: float, loss: float, gradient: float
) -> None:
    found = one_token(advantage, math.log(ratio) - 3, -3.0, -3.0)
    assert found == pytest.approx((loss, gradient), rel=1e-5)


@pytest.mark.parametrize(("old", "weight"), [(-3.5, math.exp(-0.5)), (-3 + math.log(9), 2.0)])
def test_the_sampler_is_corrected_for_up_to_the_cap(old: float, weight: float) -> None:
    """min(pi_old / pi_sampler, 2), as a constant factor of loss and gradient."""
    assert one_token(1.0, old, old, -3.0) == pytest.approx((-weight, -weight), rel=1e-5)


def test_the_divergence_pulls_towards_the_reference() -> None:
    config, update = LossConfig(nll=0, kl=0.5), [rollout(1, 1.0)]
    tokens = tokens_of(update, config, torch.tensor([-1.0]))
    tokens = tokens._replace(reference_logprobs=torch.tensor([-2.0]))
    found = hierarchical_loss(torch.tensor([-1.0]), tokens, config).item()
    assert found == pytest.approx(-1 + 0.5 * (math.exp(-1) + 1 - 1))


def test_the_parts_of_an_update_add_up_to_it() -> None:
    """Method D11: losses and gradients do not depend on how an update is cut."""
    config = LossConfig()
    generator = torch.Generator().manual_seed(0)
    update = [rollout(3 + i, (-1) ** i * 0.7, Level.STEP if i % 3 else Level.TRAJECTORY)
              for i in range(7)]  # fmt: skip
    count = sum(sample.learned_count for sample in update)
    old, new = (-torch.rand(count, generator=generator) * 3 for _ in range(2))
    tokens = tokens_of(update, config, old)
    whole = hierarchical_loss(new, tokens, config)
    parts = []
    for chosen in (slice(0, 5), slice(5, 17), slice(17, None)):
        fields = {n: t[chosen] for n, t in tokens._asdict().items() if t is not None}
        parts.append(hierarchical_loss(new[chosen], Tokens(**fields), config))
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


def test_statistics_are_means_over_the_tokens_of_a_level() -> None:
    config = LossConfig()
    update = [rollout(2, 1.0), rollout(2, -1.0), rollout(1, -1.0, Level.STEP)]
    old = torch.full((5,), -2.0)
    ratio = torch.tensor([1.0, 1.5, 0.5, 4.0, 1.0])
    tokens = tokens_of(update, config, old, old + torch.tensor([0.0, 0.0, 0.0, -1.0, 0.4]))
    found = means(token_sums(old + ratio.log(), tokens, config))
    trajectory, step = found[Level.TRAJECTORY], found[Level.STEP]
    assert (trajectory["tokens"], trajectory["positive_tokens"]) == (4, 2)
    assert trajectory["ratio"] == pytest.approx(7 / 4)
    assert trajectory["clip_high_fraction"] == 0.25
    assert trajectory["clip_low_fraction"] == 0.25
    assert trajectory["dual_clip_fraction"] == 0.25
    assert trajectory["truncated_fraction"] == 0.25
    assert trajectory["kl"] == pytest.approx(
        sum(r - 1 - math.log(r) for r in (1.0, 1.5, 0.5, 4.0)) / 4, rel=1e-5
    )
    assert (step["ratio"], step["kl"]) == pytest.approx((1, 0), abs=1e-6)
    assert step["mismatch"] == pytest.approx(0.4)


def test_a_level_without_tokens_has_no_statistics() -> None:
    config, old = LossConfig(), torch.full((5,), -1.0)
    sums = token_sums(old, tokens_of(UPDATE[:2], config, old), config)
    assert list(means(sums)) == [Level.TRAJECTORY]


def test_a_sequence_whose_sampler_differs_too_much_teaches_nothing() -> None:
    """TRL's sequence_mask: the product of the ratios weighs the whole sequence, or drops it."""
    config = LossConfig(importance=Importance.REJECT_SEQUENCE, importance_cap=3, nll=0)
    update = [rollout(2, 1.0), rollout(3, 1.0)]
    old = torch.full((5,), -1.0)
    gaps = torch.tensor([0.2, 0.3, 0.5, 0.4, 0.4])
    tokens = tokens_of(update, config, old, old - gaps)
    # e^0.5 stays below 3, e^1.3 does not.
    found = hierarchical_loss(old, tokens, config).item()
    assert found == pytest.approx(-2 / 5 * math.exp(0.5))
    [statistics] = means(token_sums(old, tokens, config)).values()
    assert statistics["truncated_fraction"] == pytest.approx(3 / 5)


def test_gspo_reports_the_clips_of_whole_sequences() -> None:
    config = LossConfig(surrogate=Surrogate.GSPO)
    update, old = [rollout(2, 1.0), rollout(2, 1.0)], torch.full((4,), -1.0)
    # Tokens move by 10 %: in the first sequence both up, in the second one up and one down.
    now = old + torch.tensor([0.1, 0.1, 0.1, -0.1])
    [statistics] = means(token_sums(now, tokens_of(update, config, old), config)).values()
    assert statistics["clip_high_fraction"] == 0.5
