import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from storage.records import (
    Attempt,
    Ending,
    FilterVerdict,
    Outcome,
    Problem,
    Step,
    Trajectory,
    Verdict,
)
from storage.render import render_trajectory

Make = Callable[..., Trajectory]

HOSTILE = (
    "\x1b]0;owned\x07\x1b[31mred\x1b[0m \x9b2J [bold red]x[/bold red] [/] [link=http://evil]y[/link]"
    "\r\x08 \u202egpj \ud800 <img src=http://evil/x onerror=alert(1)><script>alert(1)</script>"
)


def printed(trajectory: Trajectory, **options: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None, **options)
    console.print(render_trajectory(trajectory))
    return out.getvalue()


def hostile_everywhere(make: Make) -> Trajectory:
    failed = Attempt(thought=HOSTILE, action=HOSTILE, observation=HOSTILE, outcome=Outcome.TIMEOUT)
    step = Step(
        thought=HOSTILE,
        action=HOSTILE,
        observation=HOSTILE,
        outcome=Outcome.ERROR,
        draft=HOSTILE,
        attempts=(failed,),
    )
    return make(
        trajectory_id=HOSTILE,
        dataset=HOSTILE,
        problem=Problem(
            problem_id=HOSTILE,
            source=HOSTILE,
            question=HOSTILE,
            answer=HOSTILE,
            difficulty=HOSTILE,
        ),
        steps=(step,),
        final_answer=HOSTILE,
        error=HOSTILE,
        verdict=Verdict(correct=False, method=HOSTILE, reason=HOSTILE),
        filters=(FilterVerdict(rule=HOSTILE, kept=False, reason=HOSTILE),),
    )


def test_a_reader_sees_everything_that_matters(make_trajectory: Make) -> None:
    text = printed(make_trajectory())
    for part in (
        "What is 6 times 7?",
        "6 times 7 is 43.",
        "Let me compute it.",
        "print(6 * 7)",
        "output · ok",
        "\\boxed{42}",
        "math-verify",
        "42 = 42",
        "finished",
        "16 tokens",
    ):
        assert part in text


def test_why_it_was_dropped_is_there(make_trajectory: Make) -> None:
    verdict = FilterVerdict(rule="executes", kept=False, reason="step 2 failed")
    assert "executes  dropped: step 2 failed" in printed(make_trajectory(filters=(verdict,)))


def test_what_broke_is_there(make_trajectory: Make) -> None:
    broken = make_trajectory(ending=Ending.ENGINE_ERROR, error="no answer", verdict=None)
    assert "engine_error: no answer" in printed(broken)
    assert "never judged" in printed(broken)


def test_hostile_text_reaches_no_terminal_as_a_command(make_trajectory: Make) -> None:
    text = printed(hostile_everywhere(make_trajectory))
    acting = {c for c in text if not c.isprintable()} - {"\n"}
    assert acting == set()


def test_markup_in_the_text_is_text(make_trajectory: Make) -> None:
    text = printed(make_trajectory(final_answer="[bold]1[/bold] [/] [red"))
    assert "[bold]1[/bold] [/] [red" in text


def coloured(trajectory: Trajectory) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system="standard")
    console.print(render_trajectory(trajectory))
    return out.getvalue()


@pytest.mark.parametrize("ending", Ending)
def test_only_a_finished_trajectory_ends_in_green(make_trajectory: Make, ending: Ending) -> None:
    green = f"\x1b[32m{ending.value}" in coloured(make_trajectory(ending=ending))
    assert green == (ending is Ending.FINISHED)


def test_a_failed_execution_is_red_and_a_good_one_is_not(make_trajectory: Make) -> None:
    def colours(outcome: Outcome) -> str:
        step = Step(thought="t", action="a", observation="boom", outcome=outcome)
        return coloured(make_trajectory(steps=(step,)))

    assert "\x1b[31mboom" in colours(Outcome.ERROR)
    assert "\x1b[31mboom" not in colours(Outcome.OK)
