"""A table that gives some settings leaves the others as the default of its owner has them."""

from pathlib import Path

import pytest

from flows.training.settings import rounds_settings
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.rollout_config import BranchSettings, RolloutConfig
from tirgen.settings import load_settings
from trainer.settings import RlConfig, SftConfig


def test_rounds_of_any_model_have_branches_and_a_quota(tmp_path: Path) -> None:
    """Only the name of the dataset was given, and the rest fell back to plain rollouts: no step
    level, and every problem in every round."""

    rollouts = rounds_settings(tmp_path, "pi", None, {"rollouts.samples": 8}).rollouts
    assert (rollouts.groups, rollouts.samples, rollouts.dataset) == (64, 8, "pi-rollouts")
    assert rollouts.branches == BranchSettings()


def test_an_evaluation_with_another_length_still_goes_on_after_a_failure() -> None:
    config = load_settings(EvaluationConfig, None, {"loop.tokens": 768})
    assert (config.loop.tokens, config.loop.tool_rounds, config.loop.stop_at_failure) == (
        768, 10, False,
    )  # fmt: skip


def test_a_bent_distribution_bends_only_what_was_said() -> None:
    config = load_settings(RolloutConfig, None, {"sampling.top_p": 0.9})
    assert (config.sampling.temperature, config.sampling.top_p, config.sampling.top_k) == (
        1.0, 0.9, 0,
    )  # fmt: skip


@pytest.mark.parametrize(("model", "rate"), [(SftConfig, 2e-6), (RlConfig, 1e-6)])
def test_a_warm_up_leaves_the_learning_rate(
    model: type[SftConfig] | type[RlConfig], rate: float
) -> None:
    config = load_settings(model, None, {"optimizer.warmup": 3})
    assert (config.optimizer.warmup, config.optimizer.learning_rate) == (3, rate)


def test_what_is_given_wins() -> None:
    config = load_settings(SftConfig, None, {"optimizer.learning_rate": 0.5})
    assert config.optimizer.learning_rate == 0.5


def test_a_file_can_leave_out_branches(tmp_path: Path) -> None:
    settings = tmp_path / "rl.toml"
    settings.write_text('[rollouts]\nreasoning = "cot"\nbranches = false\n')
    rollouts = rounds_settings(tmp_path, "pi", settings, {}).rollouts
    assert (rollouts.branches, rollouts.groups) == (None, 64)
