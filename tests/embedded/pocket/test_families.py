"""The problem families: every program prints its value, levels differ, values are carried on."""

import json
import random
import re
import subprocess
import sys

import pytest

from tirgen.embedded.pocket.families import FAMILIES, LEVELS, Draw, SolutionStep, answer_of
from tirgen.embedded.pocket.families.base import latex

RUN_ALL = """
import contextlib, io, json, sys
printed = []
for code in json.load(sys.stdin):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "<step>", "exec"), {"__name__": "__main__"})
    printed.append(output.getvalue().strip())
json.dump(printed, sys.stdout)
"""


def draws(per_cell: int) -> list[tuple[str, int, Draw]]:
    rng = random.Random(7)
    return [
        (name, level, family(rng, level))
        for name, family in FAMILIES.items()
        for level in LEVELS
        for _ in range(per_cell)
    ]


def steps_of(draw: Draw, seed: int = 0) -> list[SolutionStep]:
    solution = draw.solve(random.Random(seed))
    steps = []
    try:
        step = next(solution)
        while True:
            steps.append(step)
            step = solution.send(step.value)
    except StopIteration:
        return steps


def test_every_program_prints_the_value_of_its_step() -> None:
    steps = [s for seed, (_, _, draw) in enumerate(draws(4)) for s in steps_of(draw, seed)]
    run = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps([step.code for step in steps]),
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = [
        (step.code, step.value, printed)
        for step, printed in zip(steps, json.loads(run.stdout), strict=True)
        if printed != step.value
    ]
    assert not wrong
    assert len(steps) > 400


@pytest.mark.parametrize("name", FAMILIES)
def test_a_draw_follows_from_its_seed(name: str) -> None:
    for level in LEVELS:
        first, second = (FAMILIES[name](random.Random(3), level) for _ in range(2))
        assert first.question == second.question
        assert answer_of(first) == answer_of(second)


@pytest.mark.parametrize("name", FAMILIES)
def test_wording_never_changes_the_answer(name: str) -> None:
    draw = FAMILIES[name](random.Random(11), 2)
    values = {tuple(step.value for step in steps_of(draw, seed)) for seed in range(20)}
    assert len(values) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_harder_level_has_longer_numbers(name: str) -> None:
    def digits(level: int) -> int:
        rng = random.Random(5)
        steps = [step for _ in range(60) for step in steps_of(FAMILIES[name](rng, level))]
        return sum(len(number) for step in steps for number in _numbers(step.task + step.value))

    assert digits(1) < digits(2) < digits(3)


def test_a_step_carries_every_number_of_its_program() -> None:
    """The critic sees the step alone; only small constants of the method may be its own."""
    for name, _, draw in draws(5):
        for step in steps_of(draw):
            own = {"0", "1", "2", "10"} | ({"3"} if "cubes" in step.task else set())
            missing = _numbers(step.code) - _numbers(step.task) - own
            assert name == "bases" or not missing
            assert missing <= set("".join(_numbers(step.task)))


def test_a_wrong_value_is_carried_into_the_next_step() -> None:
    draw = FAMILIES["purchase"](random.Random(1), 3)
    solution = draw.solve(random.Random(0))
    next(solution)
    third = (solution.send("11111"), solution.send("22222"))[1]
    assert "11111 + 22222" in third.task
    assert third.value == "33333"


def test_many_families_take_several_steps() -> None:
    counts = {name: len(steps_of(draw)) for name, level, draw in draws(1) if level == 3}
    assert len(counts) >= 12
    assert sum(2 <= count <= 4 for count in counts.values()) >= 10


def test_programs_are_mostly_more_than_one_line_of_arithmetic() -> None:
    steps = [s for seed, (_, _, draw) in enumerate(draws(20)) for s in steps_of(draw, seed)]
    trivial = [s for s in steps if "\n" not in s.code and " for " not in s.code]
    assert 0.15 < len(trivial) / len(steps) < 0.35


def test_no_program_has_a_blank_line() -> None:
    assert not any("\n\n" in step.code for _, _, draw in draws(5) for step in steps_of(draw))


@pytest.mark.parametrize(
    ("value", "boxed"),
    [("7", "7"), ("-3", "-3"), ("3/7", "\\frac{3}{7}"), ("-4/6", "-\\frac{2}{3}")],
)
def test_fractions_are_boxed_in_lowest_terms(value: str, boxed: str) -> None:
    assert latex(value) == boxed


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+", text))
