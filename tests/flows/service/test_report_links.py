"""Summaries link to the reports that the service's pages show."""

from __future__ import annotations

import pytest

from flows.service.dataset_summary import report_link
from flows.service.home import PAGES_VARIABLE


def test_a_summary_links_to_the_report_of_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PAGES_VARIABLE, "http://127.0.0.1:4201")
    [link] = report_link("demo@v1")
    assert link.endswith("(http://127.0.0.1:4201/reports/demo@v1)")
    monkeypatch.delenv(PAGES_VARIABLE)
    assert not list(report_link("demo@v1")), "a worker elsewhere has no pages"
