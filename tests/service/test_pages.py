"""What a run shows, without a server: markdown, chart and health of hostile and of odd input."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from flows.service.chart import Bar, bar_chart
from flows.service.generate import waits
from flows.service.health import Alarm, Health
from flows.service.markdown import Link, fenced, inert, table

HOSTILE = "a `b` | [x](javascript:alert(1)) <img onerror=1>\n\x1b[31m\u202e end"


def test_a_cell_is_one_code_span_on_one_line():
    [row] = table([{"question": HOSTILE}]).splitlines()[2:]
    assert row.startswith("| `a 'b' \\| ")
    assert row.count("`") == 2
    assert "\x1b" not in row
    assert "\u202e" not in row


def test_a_fence_is_longer_than_any_in_the_text():
    assert fenced("```\n````", "sh").splitlines()[0] == "`````sh"


def test_a_table_artifact_holds_no_link():
    [row] = inert([{"question": HOSTILE, "calls": 3}])
    assert "](" not in row["question"]
    assert row["calls"] == 3


def test_no_rows_are_said_to_be_none():
    assert table([]) == "*none*"


def test_bars_are_to_scale_and_labels_are_text():
    root = ET.fromstring(bar_chart("<b>", [Bar("<script>", 1, 4), Bar("half", 1, 2)]))
    widths = [float(e.attrib["width"]) for e in root.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths == [420, 105, 210, 105]
    assert "<script>" in [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    ("rows", "kept", "lost", "drifts"),
    [(100, 5, 2, False), (100, 4, 0, True), (100, 50, 3, True), (0, 0, 0, True)],
)
def test_a_version_drifts_by_its_yield_or_by_what_was_lost(rows, kept, lost, drifts):
    health = Health(rows, kept, lost, Alarm(least_kept_share=0.05, most_lost_share=0.02))
    assert health.drifts is drifts
    assert health.sentence.startswith("Drifting" if drifts else "Healthy")


def test_only_a_link_of_ours_is_a_link():
    row = {"id": Link("t1", "http://127.0.0.1:1/trajectories/t1"), "question": HOSTILE}
    assert inert([row])[0]["id"] == "[t1](http://127.0.0.1:1/trajectories/t1)"
    assert table([row]).splitlines()[2].startswith("| [`t1`](http://127.0.0.1:1/trajectories/t1) |")


def test_waits_double_up_to_five_minutes_and_add_up():
    assert waits(0) == []
    assert waits(4) == [15, 30, 60, 120, 15]
    assert sum(waits(60)) == 3600
    assert max(waits(60)) == 300
