"""Text of models, programs and problems in every door of the command line: shown, never obeyed."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import run
from flows.terminal.failures import BUG
from flows.terminal.progress import CountDisplay, ProgressDisplay, ProgressLine
from storage.datasets import Store
from storage.records import Attempt, Outcome, Step
from storage.text import to_json, visible
from tests.rows import row

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil\x1b\\ \x9b31m \u202edesrever\u2066 \u2028 "
    "[red]x[/red] \ufeff\U000e0041 \x00\x7f\r"
)
JOINERS = "\u200c\u200d"
NUMBER_SIGNS = (
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One run with a row whose every text is hostile, published, and the same row once more."""
    made = row(kept=True)
    step = Step(
        thought=HOSTILE,
        action=HOSTILE,
        observation=HOSTILE,
        outcome=Outcome.ERROR,
        draft=HOSTILE,
        attempts=(
            Attempt(thought=HOSTILE, action=HOSTILE, observation=HOSTILE, outcome=Outcome.ERROR),
        ),
    )
    hostile = replace(
        made,
        problem=replace(made.problem, question=HOSTILE, answer=HOSTILE, difficulty=HOSTILE),
        steps=(step,),
        final_answer=HOSTILE,
        error=HOSTILE,
        verdict=made.verdict and replace(made.verdict, reason=HOSTILE),
        filters=(replace(made.filters[0], kept=True, reason=HOSTILE),),
    )
    opened = Store(tmp_path / "store").open_run("d", {}, "h")
    opened.append([hostile])
    opened.publish([hostile], {"problems": 1, "yield": []})
    return tmp_path / "store"


def acting(text: str) -> set[str]:
    """The characters that a terminal or a reader's eye would obey."""
    there = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    return there - set("\n\t" + JOINERS + NUMBER_SIGNS)


DOORS = [
    ("sql", "select final_answer::int from trajectories"),
    ("sql", "select error(question) from trajectories"),
    ("sql", "from trajectories"),
    ("sql", "from trajectories", "--json"),
    ("sql", "from steps", "--json"),
    ("sql", "pivot (select 1 as one, question from trajectories) on question using sum(one)"),
    ("sql", 'select question as "\x1b[2J" from trajectories'),
    ("sql", "select question from trajectories where \x1b[2J"),
    ("traj", "list"),
    ("traj", "list", "--json"),
    ("traj", "list", "--where", "final_answer::int = 1"),
    ("traj", "show", "t"),
    ("traj", "show", "t", "--json"),
    ("traj", "show", "\x1b[2J"),
    ("dataset", "list"),
    ("dataset", "show", "d"),
    ("dataset", "show", "\x1b[2J"),
    ("dataset", "export", "d", "/dev/stdout"),
]


@pytest.mark.parametrize("arguments", DOORS, ids=lambda door: " ".join(map(ascii, door))[:60])
def test_no_door_lets_a_character_act(
    store: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run([*arguments, "--store", str(store)]) != BUG
    told = capfd.readouterr()
    assert acting(told.out) == set()
    assert acting(told.err) == set()
    assert told.out + told.err


def test_json_means_what_the_row_says(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "select question from trajectories", "--json", "--store", str(store)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"question": HOSTILE}]


def test_the_page_and_the_export_hold_nothing_that_acts(store: Path, tmp_path: Path) -> None:
    page, rows = tmp_path / "page.html", tmp_path / "rows.jsonl"
    assert run(["traj", "show", "t", "--html", str(page), "--store", str(store)]) == 0
    assert run(["dataset", "export", "d", str(rows), "--store", str(store)]) == 0
    assert acting(page.read_text()) == set()
    assert acting(rows.read_text()) == set()
    assert HOSTILE.strip() in json.loads(rows.read_text())["messages"][1]["content"]


def test_markup_and_braces_in_a_title_and_in_figures_are_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    title = "[bold]{x}[/]\x1b[2J"
    with ProgressDisplay[str](title, lambda figures: ProgressLine(1, 2, figures)) as display:
        display._last_line = -1e9
        display.update("[red]{y}[/]\x9b1m")
    with CountDisplay("[/nothing]") as counted:
        counted.count(1, 2)
    assert "[bold]{x}[/]␛[2J: 1/2  [red]{y}[/]�1m" in capsys.readouterr().err


def test_every_character_that_acts_is_known() -> None:
    everything = "".join(map(chr, range(0x110000)))
    assert acting(everything)
    assert acting(visible(everything)) == acting(to_json(everything)) == set()


def test_scripts_stay_as_they_are_written() -> None:
    text = "日本 नमस्\u200dते 👩\u200d🔬 می\u200cخواهم é\tx\n"
    assert visible(text) == text
    assert to_json(text) == json.dumps(text, ensure_ascii=False)
