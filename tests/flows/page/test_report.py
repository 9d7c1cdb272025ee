"""The report of a dataset version or a policy: its charts, its SQL, and hostile labels in it."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flows.cli import run
from flows.page import charts
from flows.page.report import dataset_report
from storage.datasets import Store
from storage.records import Program, Trajectory
from storage.sql import query
from storage.versions import DatasetVersion
from tests.rows import row
from tirgen.evaluation.estimates import Estimate

HOSTILE = "$\\frac{1}{2$ </text><script>alert(1)</script> \x1b[2J"


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, DatasetVersion]:
    """Trajectories of two difficulties, one of them hostile, and samples without tools."""
    store = Store(tmp_path_factory.mktemp("report") / "store")
    made: list[Trajectory] = []
    for number in range(12):
        one = row(kept=number % 3 == 0)
        difficulty = HOSTILE if number % 2 else "level 1"
        made.append(
            replace(
                one,
                trajectory_id=f"t{number}",
                problem=replace(one.problem, problem_id=f"p{number}", difficulty=difficulty),
                created_at=one.created_at + 10 * number,
                program=Program.COT if number > 9 else Program.TIRGEN,
            )
        )
    opened = store.open_run("d", {}, "h")
    opened.append(made)
    return store, opened.publish(made, {"problems": 12, "yield": []})


def test_the_report_has_charts_with_the_sql_that_gives_their_figures(
    published: tuple[Store, DatasetVersion],
) -> None:
    store, version = published
    page = dataset_report(store, version)
    found = Tags(page)
    assert found.tags.count("svg") >= 6
    assert "trajectories that" not in found.text
    for words in ("d@v1", "How trajectories ended", "Accuracy by difficulty", "minutes since"):
        assert words in found.text, words
    assert "FROM all_trajectories WHERE dataset = 'd' AND version = 'v1'" in found.text
    assert query(store, "SELECT count(*) FROM all_samples").to_pylist()


def test_labels_from_data_are_text(published: tuple[Store, DatasetVersion]) -> None:
    found = Tags(dataset_report(*published))
    assert "script" not in found.tags
    assert "$\\frac" in found.text, "shown as it is written, not read as a formula"
    assert "\x1b" not in found.text


@pytest.mark.parametrize("labels", [["$x", "$x$", "_hidden"], [HOSTILE], ["", " "], ["é", "数"]])
def test_every_chart_takes_any_label(labels: list[str]) -> None:
    estimate = Estimate(value=0.5, low=0.4, high=0.6)
    for drawn in (
        charts.bars({label: {label: 1.0} for label in labels}, "rows"),
        charts.intervals({label: {label: estimate} for label in labels}, "share"),
        charts.lines({label: [(1, 2), (2, 3)] for label in labels}, "round", "reward"),
        charts.histogram({label: {1: 1, 2: 2} for label in labels}, "calls", "rows"),
    ):
        assert Tags(drawn).tags[0] == "svg"


def test_bars_say_their_numbers() -> None:
    rows = [
        {"rule": "boxed", "kept": 1, "dropped": 3},
        {"rule": "correct", "kept": 1, "dropped": 0},
    ]
    text = Tags(charts.kept_and_dropped(rows, "rule")).text
    assert "1 + 3" in text
    assert {"boxed", "correct", "kept", "dropped"} <= set(text.split())


def test_the_same_rows_give_the_same_chart() -> None:
    one, two = (charts.lines({"a": [(1, 2), (2, 1)]}, "x", "y") for _ in range(2))
    assert one == two


def test_the_command_writes_the_newest_version_by_default(
    published: tuple[Store, DatasetVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = published
    monkeypatch.chdir(tmp_path)
    assert run(["report", "--store", str(store.root)]) == 0
    assert "d@v1" in (tmp_path / "d@v1.html").read_text()
    assert run(["report", "d", "-o", "x.html", "--store", str(store.root)]) == 0
    assert (tmp_path / "x.html").exists()


def test_a_name_that_nothing_has_is_said(
    published: tuple[Store, DatasetVersion], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", "nothing", "--store", str(published[0].root)]) != 0
    assert "no dataset 'nothing'" in capsys.readouterr().err
