"""The thinking pocket's training samples: long thinking inside <think>, and rewritten windows.

    cot        actor: question -> <think> comments, claims and checks of values </think> -> answer
    continued  actor: the same after refined lines, continuing from the value in the output block
    critic     a window of such lines -> its computations as programs, all other lines unchanged

A line that computes and the line that checks it are one unit, for which the critic writes one
program. The lines after a program use its value. Some thinking is ended by the budget sentence;
then the actor answers with its last value.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from tirgen.embedded.pocket.families import FAMILIES, LEVELS, Draw, SolutionStep
from tirgen.embedded.pocket.families.base import latex
from tirgen.embedded.pocket.mistakes import spoil, wrong_value
from tirgen.embedded.pocket.problems import draw_problem
from tirgen.embedded.pocket.samples import (
    Conversation,
    LearnedText,
    SampleKind,
    Walk,
    badly_refined_step,
    closing_line,
    follow,
    observed_value,
    refined_step,
)
from tirgen.tir.markup import THINK_CLOSE, THINK_OPEN, close_thinking
from tirgen.tir.prompts import BUDGET_SENTENCE, POCKET

OPENINGS = ("Okay, let me think.", "Let me work this out step by step.", "Let me start.")
ASIDES = (
    "Now the next part.",
    "Good, let me go on.",
    "That looks fine.",
    "Okay, what is next?",
    "I have to be careful here.",
)
CLOSINGS = ("That should be all.", "Now I can answer.", "So I have the answer.")
LONGEST_WINDOW = 280
"""Characters of the critic's windows: about 130 tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingMixture:
    """How often each case occurs in the corpus, as probabilities."""

    kinds: tuple[tuple[SampleKind, float], ...] = (
        (SampleKind.COT, 0.38),
        (SampleKind.CONTINUED, 0.24),
        (SampleKind.CRITIC, 0.38),
    )
    plain_levels: tuple[float, ...] = (0.75, 0.15, 0.1)
    """Levels of `cot` samples: mostly those where mental arithmetic can be learned."""
    asides: float = 0.35
    """Steps after a line with a comment only."""
    checks: float = 0.3
    """Claims with a check in the next line."""
    caught: float = 0.3
    """Checks that correct the claim."""
    cut_short: float = 0.1
    """Thinking that ends with the budget sentence."""
    kept_units: float = 0.15
    """Units before the continuation that are not rewritten."""
    wrong_claims: float = 0.5
    """Wrong values in the critic's window."""
    wrong_observations: float = 0.3
    """Observed values that are not the true ones, so that the model must read them."""
    spoiled_programs: float = 0.12
    """Programs with a mistake; fewer than in `Mixture`, since a sample has more programs."""

    def draw(self, rng: random.Random) -> Conversation:
        """One sample of the train split."""
        kinds, weights = zip(*self.kinds, strict=True)
        kind: SampleKind = rng.choices(kinds, weights)[0]
        level = rng.choices(LEVELS, self.plain_levels if kind is SampleKind.COT else None)[0]
        draw = draw_problem(rng, rng.choice(list(FAMILIES)), level, "train")
        return _MAKERS[kind](rng, draw, self)


class ThinkingLine(NamedTuple):
    """One line of thinking; `unit` is the number of the step that it computes or checks."""

    text: str
    unit: int | None


def _cot(rng: random.Random, draw: Draw, mixture: ThinkingMixture) -> Conversation:
    walk = _believing(rng, draw, lambda number, step: step.value)
    lines = _thinking(rng, walk, mixture)
    if rng.random() < mixture.cut_short:
        reply = _cut_short(rng, lines, walk)
    else:
        reply = [LearnedText(_ended(lines, walk), learned=True)]
    reply.insert(0, LearnedText(THINK_OPEN, learned=False))
    return Conversation(
        kind=SampleKind.COT, messages=POCKET.for_cot(draw.question), reply=tuple(reply)
    )


def _continued(rng: random.Random, draw: Draw, mixture: ThinkingMixture) -> Conversation:
    walk = _believing(
        rng, draw, lambda number, step: observed_value(rng, step, mixture.wrong_observations)
    )
    lines = _thinking(rng, walk, mixture)
    last = rng.randrange(len(walk.steps))
    end = 1 + max(place for place, line in enumerate(lines) if line.unit == last)
    before = THINK_OPEN
    for unit, group in groupby(lines[:end], key=lambda line: line.unit):
        if unit is None or (unit != last and rng.random() < mixture.kept_units):
            before += "".join(f"{line.text}\n" for line in group)
        else:
            step, value = walk.steps[unit]
            before += "".join(piece.text for piece in refined_step(step, step.code, value)) + "\n"
    reply = (
        LearnedText(before, learned=False),
        LearnedText(_ended(lines[end:], walk), learned=True),
    )
    return Conversation(
        kind=SampleKind.CONTINUED, messages=POCKET.for_cot(draw.question), reply=reply
    )


def _critic(rng: random.Random, draw: Draw, mixture: ThinkingMixture) -> Conversation:
    words = rng.random()
    claimed = _believing(
        rng, draw, lambda number, step: observed_value(rng, step, mixture.wrong_claims), words
    )
    window = _window(rng, _thinking(rng, claimed, mixture))
    first = min((line.unit for line in window if line.unit is not None), default=0)

    def read(number: int, step: SolutionStep) -> str:
        if number < first:
            return claimed.steps[number][1]
        return observed_value(rng, step, mixture.wrong_observations)

    observed = _believing(rng, draw, read, words)
    reply = _rewritten(rng, window, observed, mixture)
    message = "\n".join(line.text for line in window)
    return Conversation(
        kind=SampleKind.CRITIC, messages=POCKET.for_critic(message), reply=tuple(reply)
    )


_MAKERS: dict[SampleKind, Callable[[random.Random, Draw, ThinkingMixture], Conversation]] = {
    SampleKind.COT: _cot,
    SampleKind.CONTINUED: _continued,
    SampleKind.CRITIC: _critic,
}


def _believing(
    rng: random.Random,
    draw: Draw,
    believe: Callable[[int, SolutionStep], str],
    words: float | None = None,
) -> Walk:
    """As `follow`, with the number of each step; all values are right if wrong ones are impossible.

    Equal `words` give equal wording, whatever the values.
    """
    words = rng.random() if words is None else words
    numbers = iter(range(100))
    try:
        return follow(draw, random.Random(words), lambda step: believe(next(numbers), step))
    except (ValueError, ZeroDivisionError):
        return follow(draw, random.Random(words), lambda step: step.value)


def _thinking(rng: random.Random, walk: Walk, mixture: ThinkingMixture) -> list[ThinkingLine]:
    """All lines of a thinking section."""
    lines = [ThinkingLine(rng.choice(OPENINGS), None)]
    for number, (step, value) in enumerate(walk.steps):
        if number and rng.random() < mixture.asides:
            lines.append(ThinkingLine(rng.choice(ASIDES), None))
        lines += [ThinkingLine(text, number) for text in _claim(rng, step, value, mixture)]
    return [*lines, ThinkingLine(rng.choice(CLOSINGS), None)]


def _claim(
    rng: random.Random, step: SolutionStep, value: str, mixture: ThinkingMixture
) -> list[str]:
    """A computation without program, and sometimes a check that confirms or corrects it."""
    if rng.random() >= mixture.checks:
        return [step.plain(value)]
    if rng.random() < mixture.caught:
        return [step.plain(wrong_value(rng, value)), f"Wait, {_lower(step.plain(value))}"]
    return [step.plain(value), f"Checked again, {_lower(step.plain(value))}"]


def _ended(lines: list[ThinkingLine], walk: Walk) -> str:
    thinking = "".join(f"{line.text}\n" for line in lines)
    return f"{thinking}{THINK_CLOSE}\n\n{closing_line(walk.answer)}"


def _cut_short(rng: random.Random, lines: list[ThinkingLine], walk: Walk) -> list[LearnedText]:
    """Incomplete thinking, and an answer from its last value."""
    size = rng.randint(1, len(lines) - 1)
    unit = max((line.unit for line in lines[:size] if line.unit is not None), default=None)
    whole = unit is None or unit == len(walk.steps) - 1
    answer = walk.answer if whole or unit is None else latex(walk.steps[unit][1])
    return [
        LearnedText("".join(f"{line.text}\n" for line in lines[:size]), learned=True),
        LearnedText(close_thinking(BUDGET_SENTENCE), learned=False),
        LearnedText(closing_line(answer), learned=True),
    ]


def _window(rng: random.Random, lines: list[ThinkingLine]) -> list[ThinkingLine]:
    """Consecutive lines, as many as fit."""
    start, room = rng.randrange(len(lines)), rng.randint(40, LONGEST_WINDOW)
    end = start + 1
    while end < len(lines) and sum(len(line.text) for line in lines[start : end + 1]) <= room:
        end += 1
    return lines[start:end]


def _rewritten(
    rng: random.Random, window: list[ThinkingLine], observed: Walk, mixture: ThinkingMixture
) -> list[LearnedText]:
    """The critic's reply to a window; it ends after a program without result."""
    reply: list[LearnedText] = []
    for unit, group in groupby(window, key=lambda line: line.unit):
        if reply:
            reply.append(LearnedText("\n", learned=True))
        if unit is None:
            reply.append(LearnedText("\n".join(line.text for line in group), learned=True))
            continue
        step, value = observed.steps[unit]
        spoiled = spoil(rng, step.code, step.value)
        if spoiled.failed and rng.random() < mixture.spoiled_programs:
            return [*reply, *badly_refined_step(step, spoiled)]
        reply += refined_step(step, step.code, value)
    return reply


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
