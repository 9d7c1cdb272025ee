"""What a critic changed with no program to show for it."""

from typing import Any

import pytest

from storage.records import Ending, Outcome, Step
from tirgen.filters.apply import filter_rows
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.rules import accept
from tirgen.filters.untouched import changed_beyond_programs

DRAFT = "Okay, let me see. The sum is 3 + 4 = 8.\nNow I can answer."


def rewritten(thought: str, rest: str, draft: str = DRAFT) -> tuple[Step, ...]:
    return (
        Step(
            thought=thought,
            action="print(3 + 4)",
            observation="7",
            outcome=Outcome.OK,
            draft=draft,
        ),
        Step(thought=rest, draft="So it is \\boxed{7}."),
    )


def found(steps: tuple[Step, ...], complete: bool = True) -> str | None:
    return changed_beyond_programs(steps, complete=complete)


ANSWER = "So it is \\boxed{7}."
FAITHFUL = rewritten(
    "Okay, let me see. The sum is 3 + 4.", f"The sum is 7.\nNow I can answer.\n{ANSWER}"
)


def test_a_task_and_a_finding_may_take_the_place_of_a_claim() -> None:
    assert found(FAITHFUL) is None


def test_a_sentence_that_computes_nothing_may_not_be_lost() -> None:
    steps = rewritten("The sum is 3 + 4.", f"The sum is 7.\n{ANSWER}")
    assert found(steps) == "the critic lost 'Okay, let me see.', and 1 more"


def test_a_changed_sentence_without_a_program_is_a_loss() -> None:
    steps = rewritten(
        "Okay, let me see. The sum is 3 + 4.", f"The sum is 7.\nHence I am done.\n{ANSWER}"
    )
    assert found(steps) == "the critic lost 'Now I can answer.'"


def test_a_computation_may_not_vanish_without_a_program() -> None:
    draft = f"{DRAFT}\nTwice that is 16."
    steps = rewritten(FAITHFUL[0].thought, FAITHFUL[1].thought, draft)
    assert found(steps) == "the critic lost 'Twice that is 16.'"


def test_going_on_beyond_the_window_is_an_addition() -> None:
    more = f"The sum is 7.\nNow I can answer.\nIts square is 49.\n{ANSWER}"
    assert found(rewritten(FAITHFUL[0].thought, more)) == "the critic added 'Its square is 49.'"


def test_additions_are_not_judged_where_drafts_are_incomplete() -> None:
    more = f"The sum is 7.\nNow I can answer.\nIts square is 49.\n{ANSWER}"
    assert found(rewritten(FAITHFUL[0].thought, more), complete=False) is None


def test_what_was_never_rewritten_is_untouched() -> None:
    assert found((Step(thought="2 + 2 = 4."),)) is None


def test_layout_is_no_change() -> None:
    first, last = FAITHFUL
    thought = first.thought.replace(". ", ".\n\n")
    assert found((Step(thought=thought, action="print(7)", draft=first.draft), last)) is None


@pytest.mark.parametrize("ending", [Ending.FINISHED, Ending.EXECUTION_FAILED])
def test_a_rewrite_cut_off_by_its_failed_program_is_not_blamed(
    make_trajectory: Any, ending: Ending
) -> None:
    step = Step(thought="The sum is 3 + 4.", action="print(", observation="-", draft=DRAFT)
    row = make_trajectory(steps=(step,), ending=ending)
    verdict = next(v for v in accept(row, FilterConfig()) if v.rule == Rule.UNTOUCHED)
    assert verdict.kept == (ending is Ending.EXECUTION_FAILED)


def test_it_is_found_again_in_stored_rows_and_can_be_off(make_trajectory: Any) -> None:
    row = make_trajectory(steps=rewritten("The sum is 3 + 4.", f"The sum is 7.\n{ANSWER}"))
    others = (Rule.CODE_QUALITY, Rule.CALL_BALANCE)
    [judged] = filter_rows([row], FilterConfig(off=(Rule.UNTOUCHED, *others)), seed=0)
    assert judged.kept
    [again] = filter_rows([judged], FilterConfig(off=others), seed=0)
    assert next(v.rule for v in again.filters if not v.kept) == Rule.UNTOUCHED
