"""The settings of fine-tunings and of rounds of RL, and where they come from; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from flows.training.models import settings_for
from tirgen.jobs.rollout_config import BranchSettings, RolloutConfig
from tirgen.settings import Count, Settings, load_settings
from trainer.settings import RlConfig, SftConfig


class RoundsConfig(Settings):
    """Hierarchical RL: rounds of rollouts and updates."""

    rounds: Count = 4
    staleness: Literal[0, 1] = 0
    """With 1 the rollouts of the next round are sampled while a round is trained, by the policy
    that this training began with. A round then takes as long as the longer of the two, and learns
    from rollouts that are one update older; it needs `rollouts.groups`."""
    rollouts: RolloutConfig = RolloutConfig(groups=64, branches=BranchSettings())
    """How each round samples. Its policy, and the first problem that it takes, follow from the
    round before."""
    update: RlConfig = RlConfig()
    """How each round updates."""

    @model_validator(mode="after")
    def _samples_other_problems(self) -> RoundsConfig:
        if self.staleness and self.rollouts.groups is None:
            raise ValueError(
                "staleness = 1 needs rollouts.groups: the first two rounds are sampled by one "
                "policy, and without a quota both would ask the same problems"
            )
        return self


def sft_settings(folder: Path, file: Path | None, overrides: dict[str, Any]) -> SftConfig:
    """The settings of a fine-tuning: overrides, then the file, then what suits the parent model.

    Raises `ConfigError`.
    """
    return load_settings(SftConfig, file, overrides, settings_for(folder, "sft"))


def rounds_settings(
    folder: Path, name: str, file: Path | None, overrides: dict[str, Any]
) -> RoundsConfig:
    """The settings of rounds of RL: overrides, then the file, then what suits the parent model.

    The rollouts are named after the policy `name`. Raises `ConfigError`.
    """
    base = settings_for(folder, "rl")
    base["rollouts"] = {"dataset": f"{name}-rollouts"} | base.get("rollouts", {})
    return load_settings(RoundsConfig, file, overrides, base)
