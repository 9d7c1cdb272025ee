"""The report of a dataset version or a policy: its charts, its SQL, and hostile labels in it."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flows.cli import run
from flows.live.work import find_work
from flows.page import charts
from flows.page.report import ACCURACY, TIME, dataset_report, of_run, of_version, run_report
from storage.datasets import Store
from storage.records import Program, Trajectory
from storage.sql import query
from storage.versions import DatasetVersion
from tests.rows import row
from tirgen.evaluation.estimates import Bootstrap, Estimate, RatioSums

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


def test_a_run_at_work_has_a_report_with_its_outcomes_over_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    config: dict[str, object] = {"actor": {}, "critic": {}}
    opened = store.open_run("d", config, "h")
    made = [row(f"p{n}", kept=n % 2 == 0, created_at=1000.0 + 10 * n) for n in range(20)]
    opened.append(made)
    opened.append([row("p1", 1, program=Program.COT, created_at=1300.0)])
    found = Tags(run_report(store, find_work(store, "d")))
    for words in ("d-h", "stopped", "Outcomes over time", "trajectories a minute"):
        assert words in found.text, words
    assert "it was ended before it made a row" in found.text, "no call left a note"
    assert "20 + " not in found.text, "the baseline is no trajectory"
    opened.publish(made, {})
    opened.append([row("p30", created_at=1400.0)])
    source = of_run(find_work(store, "d"), store.version("d@v1"))
    sql = f"SELECT count(*) AS n, count(DISTINCT version) AS versions FROM {source.trajectories}"
    assert query(store, sql).to_pylist() == [{"n": 21, "versions": 1}]


def test_moments_without_rows_are_zero_not_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = [row(f"p{n}", created_at=t) for n, t in enumerate((0.0, 1.0, 2.0, 400.0))]
    store.open_run("d", {}, "h").publish(made, {})
    rows = query(store, of_version(store.version("d")).fill(TIME)).to_pylist()
    assert [one["made"] for one in rows] == [3, *([0] * 38), 1]
    assert rows[1]["right_share"] is None


def test_the_interval_of_shares_is_that_of_the_bootstrap(tmp_path: Path) -> None:
    """The aggregate of SQL against problems drawn again, with problems of unequal size."""
    draw = random.Random(7)
    store, made = Store(tmp_path), list[Trajectory]()
    for number in range(150):
        ease = draw.betavariate(1.2, 0.8)
        made += [
            row(f"p{number}", attempt, kept=draw.random() < ease)
            for attempt in range(draw.randint(1, 8))
        ]
    store.open_run("d", {}, "h").publish(made, {})
    [sums] = query(store, of_version(store.version("d")).fill(ACCURACY)).to_pylist()
    found = RatioSums(**{name: sums[name] for name in RatioSums._fields}).share()
    by_problem = defaultdict[str, list[bool]](list)
    for one in made:
        by_problem[one.problem.problem_id].append(one.correct)
    right, judged = [sum(r) for r in by_problem.values()], [len(r) for r in by_problem.values()]
    drawn = Bootstrap(0).ratio(right, judged)
    assert drawn is not None
    assert found.value == pytest.approx(drawn.value)
    assert found.low == pytest.approx(drawn.low, abs=0.01)
    assert found.high == pytest.approx(drawn.high, abs=0.01)


@pytest.mark.parametrize(("right", "problems"), [(0, 1), (3, 3), (0, 40), (40, 40)])
def test_a_share_of_none_or_all_still_has_an_interval(right: int, problems: int) -> None:
    """Wilson's, of as many independent samples as there are problems."""
    r, n = float(right), float(problems)
    found = RatioSums(problems, r, n, r, r, n).share()
    assert found.low <= found.value <= found.high
    assert 0 <= found.low < found.high <= 1


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
    assert "no dataset, policy or run 'nothing'" in capsys.readouterr().err
