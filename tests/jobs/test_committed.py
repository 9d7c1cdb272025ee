"""When a published version answers the same call again, and which rows a call may take over."""

from dataclasses import replace
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.records import (
    UNVERIFIABLE,
    Cost,
    Ending,
    Level,
    Outcome,
    Problem,
    Program,
    Step,
    Trajectory,
    Verdict,
)
from storage.runs import Run
from tests.rows import row
from tirgen.jobs.budget import BudgetSettings, Price
from tirgen.jobs.committed_rows import CommittedRow, CommittedRows

ROWS = [row("p1"), row("p2"), row("p3")]
PROBLEMS = {each.problem.problem_id: each.problem for each in ROWS}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Store(tmp_path).open_run("d", {}, "h")
    run.append(ROWS)
    run.publish(ROWS, {})
    return run


def corrected(problem: str) -> Problem:
    return replace(PROBLEMS[problem], answer="2")


def step(source: Trajectory) -> Trajectory:
    name = f"{source.trajectory_id}/1"
    return replace(source, trajectory_id=name, group_id=name, level=Level.STEP, verdict=None)


def test_a_version_with_the_rows_that_the_run_holds_answers_again(run: Run) -> None:
    found = CommittedRows(run).version(PROBLEMS)
    assert found is not None
    assert found.version == "v1"
    assert CommittedRows(run).version() == found


def test_what_was_never_published_answers_nothing(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("d", {}, "h")
    run.append(ROWS)
    assert CommittedRows(run).version(PROBLEMS) is None


def test_a_row_that_was_made_again_after_the_publication_wants_another(run: Run) -> None:
    """As after an infrastructure fault, by a call that was killed before it could publish."""
    run.append([replace(ROWS[1], created_at=1.0)])
    assert CommittedRows(run).version(PROBLEMS) is None


def test_a_call_for_fewer_problems_is_not_answered_with_more(run: Run) -> None:
    assert CommittedRows(run).version({"p1": PROBLEMS["p1"]}) is None


def test_a_call_for_more_problems_is_not_answered_with_fewer(run: Run) -> None:
    run.append([row("p4")])
    assert CommittedRows(run).version({**PROBLEMS, "p4": row("p4").problem}) is None
    assert CommittedRows(run).version(PROBLEMS) is not None


def test_which_branches_were_grown_asks_for_no_other_version(run: Run) -> None:
    """Which steps are branched follows from the trajectories; a step left over is in no version."""
    run.append([step(ROWS[0])])
    assert CommittedRows(run).version(PROBLEMS) is not None


def test_rows_of_a_problem_with_another_gold_answer_are_not_taken_over(run: Run) -> None:
    asked = {**PROBLEMS, "p2": corrected("p2")}
    assert {each.problem.problem_id for each in CommittedRows(run).rows(asked)} == {"p1", "p3"}
    assert CommittedRows(run).version(asked) is None


def test_a_run_that_is_not_there_holds_nothing() -> None:
    assert list(CommittedRows(None).rows(PROBLEMS)) == []


def test_lost_rows_are_among_those_taken_over(run: Run) -> None:
    """Whether they count as made is for the caller to say."""
    run.append([row("p1", 1, ending=Ending.ENGINE_ERROR)])
    assert sum(each.is_lost for each in CommittedRows(run).rows(PROBLEMS)) == 1


def test_what_is_read_in_columns_is_what_the_rows_say(tmp_path: Path) -> None:
    step = Step(thought="t", action="1/0", observation="E", outcome=Outcome.ERROR)
    wrong = Verdict(correct=False, method=UNVERIFIABLE, reason="r")
    rows = [
        row("p1", kept=True),
        row("p1", 1),
        replace(row("p2", program=Program.ROLLOUT), steps=(step, replace(step, outcome=None))),
        replace(row("p3", program=Program.COT), verdict=wrong, filters=()),
        replace(row("p3", 1), verdict=None, ending=Ending.INTERNAL_ERROR),
        replace(row("p4", kept=True), level=Level.STEP, group_id="t/1", steps=(step,)),
    ]
    run = Store(tmp_path).open_run("d", {}, "h")
    run.append(rows[:2])
    run.append(rows[2:])
    assert list(CommittedRows(run).rows()) == [CommittedRow.of(each) for each in rows]


def test_costs_added_up_in_columns_are_those_added_row_by_row(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("d", {}, "h")
    for number in range(6):
        cost = Cost(actor_prompt_tokens=number, critic_completion_tokens=7, wall_seconds=number / 4)
        program = Program.COT if number % 2 else Program.TIRGEN
        run.append([replace(row(f"p{number}"), cost=cost, program=program)])
    found = CommittedRows(run).spend(BudgetSettings(), 0.0)
    priced = {"actor": Price(prompt=0, completion=0)}
    one_by_one = CommittedRows(run).spend(BudgetSettings(prices=priced), 0.0)
    assert found.total == one_by_one.total == found.before
    assert found.highest == one_by_one.highest


def test_only_rows_that_are_not_made_again_need_no_journal(tmp_path: Path) -> None:
    """Of a process that was killed between the commit and the end of the row's journal."""
    run = Store(tmp_path).open_run("d", {}, "h")
    made, lost = row("p1"), row("p2", ending=Ending.ENGINE_ERROR)
    run.append([made, lost])
    ids = {made.trajectory_id, lost.trajectory_id, "never committed"}
    assert list(CommittedRows(run).made(ids)) == [made.trajectory_id]
    assert not list(CommittedRows(run).made(set()))


def test_rows_of_other_problems_are_passed_over(run: Run) -> None:
    found = [each.problem.problem_id for each in CommittedRows(run).rows({"p2": PROBLEMS["p2"]})]
    assert found == ["p2"]
