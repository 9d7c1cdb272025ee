"""Two attempts beside each other: what is marked, what is refused, and hostile text in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli import run
from flows.page.compare import comparison_page
from flows.terminal.comparison import ComparedPart, NotComparable, TrajectoryComparison
from storage.datasets import Store
from storage.records import Outcome, Step, Trajectory
from tests.flows.page.test_report import Tags
from tests.rows import row

HOSTILE = "\x1b[2J\x1b]0;owned\x07 <script>alert(1)</script> {{ 7*191 }} \u202e"


def attempt(number: int, answer: str, *, kept: bool = False, steps: int = 2) -> Trajectory:
    code = Step(
        thought=f"We compute {answer}.", action=f"print({answer})", observation=answer,
        outcome=Outcome.OK,
    )  # fmt: skip
    end = Step(thought=f"It is {answer}.")
    return replace(row("p1", number, kept=kept), final_answer=answer, steps=(code, end)[:steps])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    rows = [attempt(0, "41"), attempt(1, "42", kept=True), row("p2", kept=True)]
    made.open_run("d", {}, "h").publish(rows, {})
    corrected = [replace(one, final_answer="43") for one in rows]
    made.open_run("d", {}, "h2").publish(corrected, {})
    return made


def ids() -> tuple[str, str, str]:
    return tuple(one.trajectory_id for one in (attempt(0, "41"), attempt(1, "42"), row("p2")))  # type: ignore[return-value]


def call(store: Store, *words: str) -> int:
    return run(["traj", "diff", *words, "--store", str(store.root)])


def test_what_differs_is_told_by_fact_and_by_step(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, right, _ = ids()
    assert call(store, f"{wrong}@v1", f"{right}@v1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    facts = {fact["name"]: (fact["left"], fact["right"]) for fact in told["facts"]}
    assert facts["answer"] == ("41", "42")
    assert facts["verdict"] == ("wrong (m): r", "right (m): r")
    assert [step["same"] for step in told["steps"]] == [False, False]
    assert call(store, wrong, right) == 0
    shown = capsys.readouterr().out
    assert "They part at step 1 of 2 and 2." in shown
    assert "print(41)" in shown
    assert "print(42)" in shown


def test_the_same_attempt_in_two_versions(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    wrong, *_ = ids()
    assert call(store, f"{wrong}@v1", f"{wrong}@v2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [f["name"] for f in told["facts"] if f["left"] != f["right"]] == ["answer"]
    assert all(step["same"] for step in told["steps"])


def test_attempts_at_different_problems_are_refused(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, _, other = ids()
    assert call(store, wrong, other) == 2
    assert "answer different questions" in capsys.readouterr().err
    with pytest.raises(NotComparable):
        TrajectoryComparison(row("p1"), row("p2"))


def test_the_page_marks_what_only_one_has(store: Store, tmp_path: Path) -> None:
    wrong, right, _ = ids()
    assert call(store, f"{wrong}@v1", f"{right}@v1", "--html", str(tmp_path / "x.html")) == 0
    page = (tmp_path / "x.html").read_text()
    assert "<del>41</del>" in page
    assert "<ins>42</ins>" in page
    assert "script" not in Tags(page).tags


def test_a_step_that_only_one_has(store: Store) -> None:
    compared = TrajectoryComparison(attempt(0, "1", steps=1), attempt(1, "1"))
    assert compared.parted == "They part at step 2 of 1 and 2."
    assert "no such step" in comparison_page(compared)


def test_hostile_text_acts_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    rows = [replace(attempt(n, HOSTILE * (n + 1)), final_answer=HOSTILE) for n in range(2)]
    rows = [replace(r, problem=replace(r.problem, question=HOSTILE, answer=HOSTILE)) for r in rows]
    store.open_run("d", {}, "h").publish(rows, {})
    left, right, _ = ids()
    assert call(store, left, right) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    page = comparison_page(TrajectoryComparison(*rows))
    assert "script" not in Tags(page).tags
    assert "\x1b" not in page
    assert "1337" not in page


@given(st.none() | st.text(alphabet="ab 1\n"), st.none() | st.text(alphabet="ab 1\n"))
def test_each_side_is_its_own_text(left: str | None, right: str | None) -> None:
    part = ComparedPart("thought", left, right)
    assert "".join(one.text for one in part.runs("left")) == (left or "")
    assert "".join(one.text for one in part.runs("right")) == (right or "")
