"""The objective against numbers worked out by hand, and against its own equations."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from storage.records import Level
from trainer.hierarchical import (
    Aggregation,
    LossConfig,
    Tokens,
    hierarchical_loss,
    means,
    token_sums,
    weights,
)
from trainer.samples import Rollout


def rollout(tokens: int, advantage: float, level: Level = Level.TRAJECTORY) -> Rollout:
    return Rollout(
        sample_id=f"{level}{tokens}{advantage}",
        token_ids=torch.zeros(tokens + 1, dtype=torch.int32),
        learned=torch.tensor([False] + [True] * tokens),
        level=level,
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
    ("aggregation", "wanted"),
    [
        # Trajectories: -(4 * 0.5 - 1) / 5; step: -2.
        (Aggregation.TOKEN_MEAN, -0.2 - 2.0),
        # Trajectories: -(0.5 - 1) / 2; step: -2.
        (Aggregation.SEQ_MEAN_TOKEN_MEAN, 0.25 - 2.0),
        # All tokens alike: -(2 - 1 + 4) / 7.
        (Aggregation.MIXED_TOKEN_MEAN, -5 / 7),
    ],
)
def test_each_aggregation_is_the_mean_it_names(aggregation: Aggregation, wanted: float) -> None:
    config = LossConfig(aggregation=aggregation, nll=0)
    assert loss_where_nothing_moved(config) == pytest.approx(wanted)


def test_the_nll_is_a_mean_over_positive_tokens_of_each_level() -> None:
    """Log-probabilities of -1 make each level's NLL 1, whatever its count (method A4)."""
    with_nll, without = (loss_where_nothing_moved(LossConfig(nll=nll)) for nll in (0.01, 0))
    assert with_nll - without == pytest.approx(0.02)


def test_an_empty_level_leaves_the_other_as_it_is() -> None:
    config, old = LossConfig(), torch.full((5,), -1.0)
    trajectories = UPDATE[:2]
    found = hierarchical_loss(old, tokens_of(trajectories, config, old), config).item()
    assert found == pytest.approx(-0.2 + 0.01)


def test_long_trajectories_do_not_weigh_down_the_step_level() -> None:
    """Method A2: with the official code's one mean the levels weigh as their token counts."""
    long = [rollout(1000, 0.5), *UPDATE[1:]]
    step = [weights(update, LossConfig())[-1].policy for update in (UPDATE, long)]
    mixed = LossConfig(aggregation=Aggregation.MIXED_TOKEN_MEAN)
    assert step[0] == step[1] == 1 / 2
    assert weights(long, mixed)[-1].policy == 1 / 1003


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
