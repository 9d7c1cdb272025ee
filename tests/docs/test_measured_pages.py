"""The pages that benchmarks write say what the committed figures say."""

import json
from pathlib import Path

from benchmarks import _ablation_page, _yield_page
from tirgen.filters.filter_config import Rule

DOCS = Path(__file__).parents[2] / "docs"


def test_the_yield_page_is_written_from_its_figures() -> None:
    assert (DOCS / "yields.md").read_text("utf-8") == _yield_page.page(DOCS / "results")


def test_the_ablation_page_is_written_from_its_figures() -> None:
    figures = json.loads((DOCS / "results" / "ablation.json").read_text("utf-8"))
    assert (DOCS / "ablation.md").read_text("utf-8") == _ablation_page.page(figures)


def test_every_rule_is_shown_by_a_trajectory_it_dropped() -> None:
    dropped = json.loads((DOCS / "results" / "yield-dropped.json").read_text("utf-8"))
    assert [row["rule"] for row in dropped] == list(Rule)
