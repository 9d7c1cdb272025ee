import math

import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")


def loss_at(advantage: float, ratio: float) -> float:
    from trainer.loss import clipped_policy_loss

    new, old = torch.tensor([math.log(ratio)]), torch.tensor([0.0])
    return clipped_policy_loss(new, old, torch.tensor([advantage])).item()


def test_a_bad_token_far_above_its_old_probability_costs_no_more_than_the_dual_clip():
    """Spec §10, check 6."""
    assert loss_at(-1, 10) == pytest.approx(3)


def test_a_good_token_far_above_its_old_probability_gains_no_more_than_the_clip():
    """Spec §10, check 6."""
    assert loss_at(1, 2) == pytest.approx(-1.28)


def test_inside_the_clip_the_loss_is_the_plain_policy_gradient():
    assert loss_at(0.5, 1.1) == pytest.approx(-0.55)
    assert loss_at(-0.5, 0.9) == pytest.approx(0.45)
