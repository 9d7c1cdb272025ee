"""Tables that people read: nothing that one copies is ever broken, whatever the width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flows.terminal import tables
from flows.terminal.console import stdout

ROWS = [
    {"trajectory": "t1f80f3ee1dcf742523a", "problem": "pocket-growth-2-689e5a91", "calls": 3},
    {"trajectory": "t008ba8458a0de20e96f", "problem": "pocket-recurrence-1-e8a535f1", "calls": 12},
]


def shown(capsys: pytest.CaptureFixture[str], width: int, *arguments: Any) -> tuple[str, str]:
    stdout.width = width
    tables.show_rows(*arguments)
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture(autouse=True)
def _given_back() -> Iterator[None]:
    width = stdout.width
    yield
    stdout.width = width


@pytest.mark.parametrize("width", range(35, 121, 5))
def test_ids_are_whole_and_no_line_is_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], width: int
) -> None:
    out, _ = shown(capsys, width, ROWS, "", ("calls", "problem"))
    assert all(str(row["trajectory"]) in out for row in ROWS)
    assert max(map(len, out.splitlines())) <= width


def test_a_narrow_terminal_misses_the_columns_that_matter_least_and_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "left out" not in shown(capsys, 80, ROWS, "", ("calls", "problem"))[1]
    out, err = shown(capsys, 57, ROWS, "", ("calls", "problem"))
    assert "problem" in out
    assert "calls" not in out
    assert "the terminal is too narrow: calls (--json" in err


def test_rows_one_below_the_other_miss_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = shown(capsys, 24, ROWS, "", ("calls",))
    assert "calls" in out
    assert "left out" not in err


def test_a_text_gives_way_before_an_id_does(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "t1f80f3ee1dcf742523a", "question": "How many primes are there? " * 5}]
    out, _ = shown(capsys, 60, rows)
    assert "│ t1f80f3ee1dcf742523a │ How many primes are there? How" in out


def test_text_is_shown_as_it_is_and_never_acts(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = shown(capsys, 80, [{"[bold]name[/]": "[red]x[/] \x1b[31m"}])
    assert "[bold]name[/]" in out
    assert "[red]x[/] ␛[31m" in out


def test_no_rows_are_told_beside_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, 80, [], "Rounds") == ("", "Rounds: no rows\n")


@pytest.mark.parametrize(
    ("value", "cell"), [(None, ""), (True, "yes"), (0.123456, "0.1235"), ([1, "é"], '[1, "é"]')]
)
def test_values_are_written_for_people(
    capsys: pytest.CaptureFixture[str], value: bool | float | list[Any] | None, cell: str
) -> None:
    out, _ = shown(capsys, 80, [{"n": "first", "value": value}])
    [line] = [line for line in out.splitlines() if "first" in line]
    assert line.split("│")[2].strip() == cell
