from __future__ import annotations

from storage.records import Ending, Program, Trajectory
from tests.rows import row
from tirgen.jobs.committed_rows import CommittedRow
from tirgen.jobs.generate_plan import GenerationPlan


def ledger(*committed: Trajectory, attempts: int = 3, baselines: int = 2) -> GenerationPlan:
    made = GenerationPlan(attempts=attempts, baselines=baselines)
    made.load(map(CommittedRow.of, committed))
    return made


def test_attempts_are_made_in_order_until_one_is_kept() -> None:
    book = ledger(row(attempt=0))
    assert book.next_attempt("p1") == 1
    book.record(row(attempt=1, kept=True))
    assert book.next_attempt("p1") is None


def test_a_problem_without_a_kept_attempt_is_settled_after_the_last() -> None:
    book = ledger(*(row(attempt=n) for n in range(3)))
    assert book.next_attempt("p1") is None
    assert book.is_settled("p1")


def test_a_solved_problem_owes_its_baselines() -> None:
    book = ledger(row(kept=True), row(program=Program.COT, attempt=1))
    assert book.missing_baselines("p1") == [0]
    assert not book.is_settled("p1")


def test_a_committed_infrastructure_fault_is_made_again_by_the_next_run() -> None:
    lost = row(attempt=0, ending=Ending.ENGINE_ERROR)
    assert ledger(lost).next_attempt("p1") == 0


def test_a_fresh_infrastructure_fault_is_not_made_again_at_once() -> None:
    book = ledger()
    book.record(row(attempt=0, ending=Ending.SANDBOX_ERROR))
    assert book.next_attempt("p1") == 1


def test_forgiven_faults_are_made_again() -> None:
    book = ledger(row(kept=True), attempts=1, baselines=1)
    book.record(row(program=Program.COT, attempt=0, ending=Ending.ENGINE_ERROR))
    assert book.is_settled("p1")
    assert book.retry_lost(["p1"]) == 1
    assert book.missing_baselines("p1") == [0]
    assert book.retry_lost(["p1"]) == 0
