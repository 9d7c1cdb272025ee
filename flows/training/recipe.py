"""Settings to begin with: the paper's, or those for the embedded model and what was made of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tirgen.embedded.models import is_pocket
from tirgen.settings import load_settings

if TYPE_CHECKING:  # torch, which the core install leaves out
    from flows.training.rounds import RoundsConfig
    from trainer.sft import SftConfig

RECIPE = Path(__file__).with_name("pocket.toml")


def recipe() -> dict[str, Any]:
    """The whole recipe of the embedded model, for `flows.training.improve.ImproveConfig`."""
    return tomllib.loads(RECIPE.read_text("utf-8"))


def settings_for(folder: Path, section: str) -> dict[str, Any]:
    """A section of the recipe for a model that descends from the packaged one, else nothing: the
    defaults are the paper's."""
    settings: dict[str, Any] = recipe()[section] if is_pocket(folder) else {}
    return settings


def sft_settings(folder: Path, file: Path | None, overrides: dict[str, Any]) -> SftConfig:
    """The fine-tuning of a model: what is given over what suits it. Raises `ConfigError`."""
    from trainer.sft import SftConfig

    return load_settings(SftConfig, file, overrides, settings_for(folder, "sft"))


def rounds_settings(
    folder: Path, name: str, file: Path | None, overrides: dict[str, Any]
) -> RoundsConfig:
    """Rounds of RL with a model, likewise; its rollouts are named after the policy."""
    from flows.training.rounds import RoundsConfig

    base = settings_for(folder, "rl")
    base["rollouts"] = {"dataset": f"{name}-rollouts"} | base.get("rollouts", {})
    return load_settings(RoundsConfig, file, overrides, base)
