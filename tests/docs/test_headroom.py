"""The mistakes that are planted in the model of the ablation."""

import asyncio
import random
from collections import Counter

import pytest

from benchmarks._headroom import HELD_OUT, MISTAKES, Teacher, family_of, mistake_in
from tirgen.embedded.pocket.families import FAMILIES
from tirgen.embedded.pocket.problems import draw_problem, problems
from tirgen.embedded.pocket.samples import NO_RESULT, Conversation, SampleKind
from tirgen.sandbox.contract import PRINTED_NOTHING
from tirgen.sandbox.open import open_sandbox


def programs() -> list[str]:
    """Programs of every family and level."""
    found = []
    for seed in range(12):
        for name in FAMILIES:
            draw = draw_problem(random.Random(seed), name, 1 + seed % 3, "train")
            solution = draw.solve(random.Random(seed))
            step = next(solution)
            try:
                while True:
                    found.append(step.code)
                    step = solution.send(step.value)
            except StopIteration:
                pass
    return found


def test_every_mistake_is_possible_in_some_program() -> None:
    written = programs()
    assert all(any(each.made_in(code) != code for code in written) for each in MISTAKES)


@pytest.mark.slow
def test_a_mistake_is_a_habit_of_the_programs_form_whatever_its_numbers() -> None:
    def made(code: str) -> Counter[str]:
        rng = random.Random(0)
        found = (mistake_in(rng, code) for _ in range(400))
        return Counter(each.cause if each else "none" for each in found)

    one, other = (f"import math\nprint(math.gcd({n}, {n + 9}))" for n in (12, 3456))
    assert made(one) == made(other)
    assert len(made(one)) > 1
    shares = {made(code)["none"] for code in programs()}
    assert max(shares) > 320
    assert min(shares) < 200


def test_the_corpus_says_what_the_sandbox_printed_and_goes_on_after_a_failure() -> None:
    async def write() -> tuple[list[Conversation], Counter[str]]:
        async with open_sandbox(preload=("numpy", "sympy")) as sandbox:
            teacher = Teacher(random.Random(1), sandbox)
            return [await teacher.sample() for _ in range(120)], teacher.planted

    written, planted = asyncio.run(write())
    failed = 0
    for each in written:
        for before, after in zip(each.reply, each.reply[1:], strict=False):
            if not before.learned:
                broke = "Error" in before.text or PRINTED_NOTHING in before.text
                assert (after.text == NO_RESULT) == broke
                failed += broke
    assert failed == sum(count for name, count in planted.items() if "failed" in name)
    assert planted["none"] > failed > 10
    answers = [each for each in written if each.kind is SampleKind.TIR]
    assert any(
        NO_RESULT in piece.text and each.reply[-1].text.startswith("The answer is")
        for each in answers
        for piece in each.reply
    )


def test_families_are_held_out_by_the_name_in_the_problem_id() -> None:
    found = {family_of(f"train-{problem.problem_id}") for problem in problems("test", 54)}
    assert found == set(FAMILIES)
    assert 3 * len(HELD_OUT) == len(FAMILIES)
