from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")


def loss_at(advantage: float, ratio: float) -> float:
    from trainer.loss import clipped_loss

    found = clipped_loss(torch.tensor([ratio]), torch.tensor([advantage]), 0.2, 0.28, 3.0)
    return float(found.item())


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
@pytest.mark.parametrize("surrogate", ["clip", "gspo", "cispo"])
def test_no_ratio_makes_a_gradient_that_is_no_number(
    gap: float, advantage: float, surrogate: str
) -> None:
    """exp(89) is infinity in float32, and infinity times a clipped token's 0 was no number."""
    from trainer.loss import kl_estimate, policy_loss
    from trainer.settings import LossConfig

    new = torch.tensor([gap], requires_grad=True)
    zero, first = torch.tensor([0.0]), torch.tensor([0])
    config = LossConfig(surrogate=surrogate)
    loss = policy_loss(new, zero, torch.tensor([advantage]), first, config)
    loss = loss + kl_estimate(new, zero)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert new.grad.isfinite().all()


def test_a_policy_far_from_its_reference_is_still_pulled_back() -> None:
    from trainer.loss import kl_estimate

    new = torch.tensor([-100.0], requires_grad=True)
    kl_estimate(new, torch.tensor([0.0])).sum().backward()
    assert new.grad.item() < -1e8


LENGTHS = (1, 4, 2)


def gradient(surrogate: str, values: list[float]) -> list[float]:
    """Of the sum of the losses of seven tokens in three sequences."""
    from trainer.loss import policy_loss
    from trainer.settings import LossConfig

    config = LossConfig(surrogate=surrogate)
    sequences = torch.arange(3).repeat_interleave(torch.tensor(LENGTHS))
    advantages = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)[sequences]
    old = torch.full((7,), -1.0, dtype=torch.float64)
    new = (old + torch.tensor(values, dtype=torch.float64)).requires_grad_()
    policy_loss(new, old, advantages, sequences, config).sum().backward()
    found: list[float] = new.grad.tolist()
    return found


def test_gspo_moves_all_tokens_of_a_sequence_by_its_one_ratio() -> None:
    """d/dlog pi of |s| * s_i(theta) A, with s_i the geometric mean, is s_i A for every token."""
    moved = [1e-4, 2e-4, -2e-4, 1e-4, 1e-4, 0.3, 0.1]
    found = gradient("gspo", moved)
    mean = sum(moved[1:5]) / 4
    assert found[0] == pytest.approx(-math.exp(1e-4))
    assert found[1:5] == pytest.approx([math.exp(mean)] * 4)
    assert found[5:] == [0, 0]  # far above 1 + 4e-4, with a positive advantage


def test_gspo_moves_nothing_by_a_token_that_its_sequence_outweighs() -> None:
    """One token far up and one as far down leave the ratio at 1: neither is clipped."""
    found = gradient("gspo", [0.0, 2.0, -2.0, 1.0, -1.0, 0.0, 0.0])
    assert found[1:5] == pytest.approx([1.0] * 4)


def test_cispo_keeps_the_gradient_of_every_token_under_a_bounded_weight() -> None:
    """-A min(rho, 5) for each, also where PPO's clip leaves none."""
    moved = [0.5, 2.0, -2.0, 0.0, 0.1, 3.0, 0.0]
    advantages = [1.0, -1.0, -1.0, -1.0, -1.0, 0.5, 0.5]
    wanted = [-a * min(math.exp(m), 5) for a, m in zip(advantages, moved, strict=True)]
    assert gradient("cispo", moved) == pytest.approx(wanted)
    assert gradient("clip", moved)[0] == gradient("clip", moved)[5] == 0


@pytest.mark.parametrize("surrogate", ["clip", "gspo", "cispo"])
def test_where_nothing_moved_every_surrogate_is_the_plain_policy_gradient(surrogate: str) -> None:
    wanted = [-1.0, 1.0, 1.0, 1.0, 1.0, -0.5, -0.5]
    assert gradient(surrogate, [0.0] * 7) == pytest.approx(wanted)
