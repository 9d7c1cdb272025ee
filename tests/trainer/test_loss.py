from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")


def loss_at(advantage: float, ratio: float) -> float:
    from trainer.loss import clipped_policy_loss

    new, old = torch.tensor([math.log(ratio)]), torch.tensor([0.0])
    return float(clipped_policy_loss(new, old, torch.tensor([advantage])).item())


def test_a_bad_token_far_above_its_old_probability_costs_no_more_than_the_dual_clip() -> None:
    """Method C6."""
    assert loss_at(-1, 10) == pytest.approx(3)


def test_a_good_token_far_above_its_old_probability_gains_no_more_than_the_clip() -> None:
    """Method C6."""
    assert loss_at(1, 2) == pytest.approx(-1.28)


def test_inside_the_clip_the_loss_is_the_plain_policy_gradient() -> None:
    assert loss_at(0.5, 1.1) == pytest.approx(-0.55)
    assert loss_at(-0.5, 0.9) == pytest.approx(0.45)


@pytest.mark.parametrize("gap", [-200.0, 89.0, 200.0, 1e4])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_no_ratio_makes_a_gradient_that_is_no_number(gap: float, advantage: float) -> None:
    """exp(89) is infinity in float32, and infinity times a clipped token's 0 was no number."""
    from trainer.loss import clipped_policy_loss, kl_estimate

    new = torch.tensor([gap], requires_grad=True)
    zero = torch.tensor([0.0])
    loss = clipped_policy_loss(new, zero, torch.tensor([advantage])) + kl_estimate(new, zero)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert new.grad.isfinite().all()


def test_a_policy_far_from_its_reference_is_still_pulled_back() -> None:
    from trainer.loss import kl_estimate

    new = torch.tensor([-100.0], requires_grad=True)
    kl_estimate(new, torch.tensor([0.0])).sum().backward()
    assert new.grad.item() < -1e8
