"""The reference page names every rule and every setting."""

from __future__ import annotations

from pathlib import Path

from tirgen.filters.filter_config import FilterConfig, Rule

PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text()


def test_every_rule_is_documented_in_order() -> None:
    places = [PAGE.index(f"| `{rule}` |") for rule in Rule]
    assert places == sorted(places)


def test_every_setting_is_documented() -> None:
    assert [name for name in FilterConfig.model_fields if f"`{name}`" not in PAGE] == []
