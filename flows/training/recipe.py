"""Settings to begin with: the paper's, or those for the embedded model and what was made of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tirgen.pocket.names import is_pocket

RECIPE = Path(__file__).with_name("pocket.toml")


def recipe() -> dict[str, Any]:
    """The whole recipe of the embedded model, for `flows.training.improve.ImproveConfig`."""
    return tomllib.loads(RECIPE.read_text("utf-8"))


def settings_for(folder: Path, section: str) -> dict[str, Any]:
    """A section of the recipe for a model that descends from the packaged one, else nothing: the
    defaults are the paper's."""
    settings: dict[str, Any] = recipe()[section] if is_pocket(folder) else {}
    return settings
