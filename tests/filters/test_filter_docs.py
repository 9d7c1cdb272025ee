"""Every rule is applied, and the reference page names every rule and every setting."""

from __future__ import annotations

from pathlib import Path

from tirgen.filters.dataset_rules import DATASET_RULES
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.rules import TRAJECTORY_RULES

PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text()
SETTINGS = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def test_every_rule_is_documented_in_order() -> None:
    places = [PAGE.index(f"| `{rule}` |") for rule in Rule]
    assert places == sorted(places)


def test_every_rule_is_applied_to_a_trajectory_or_to_the_dataset() -> None:
    assert set(Rule) == TRAJECTORY_RULES.keys() | DATASET_RULES.keys()


def test_every_setting_is_documented() -> None:
    assert [name for name in FilterConfig.model_fields if f"filters.{name}" not in SETTINGS] == []
