"""The settings of fine-tunings and of rounds of RL, and where they come from; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.training.models import settings_for
from tirgen.jobs.rollout_config import BranchSettings, RolloutConfig
from tirgen.settings import Count, Settings, load_settings
from trainer.settings import RlConfig, SftConfig


class RoundsConfig(Settings):
    """Hierarchical RL: rounds of rollouts and updates."""

    rounds: Count = 4
    rollouts: RolloutConfig = RolloutConfig(groups=64, branches=BranchSettings())
    """How each round samples. Its policy, and the first problem that it takes, follow from the
    round before."""
    update: RlConfig = RlConfig()
    """How each round updates."""


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
