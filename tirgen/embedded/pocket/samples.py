"""The pocket's training samples: four kinds of text, with marks for the parts to learn.

    cot        actor: question -> plain steps, each with a claimed value -> boxed answer
    continued  actor: the same after refined steps, continuing from the value in the output block
    critic     one plain step, often with a wrong value -> the refined step, or the step unchanged
    tir        question under the tool prompt -> mostly plain steps, sometimes programs

Only text that the model writes itself is learned: no prompt and no output block.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tirgen.embedded.pocket.families import FAMILIES, LEVELS, Draw, SolutionStep
from tirgen.embedded.pocket.mistakes import Spoiled, spoil, wrong_value
from tirgen.embedded.pocket.problems import draw_problem
from tirgen.engine.protocol import Message
from tirgen.tir.prompts import POCKET

NEXT_STEP = "\n\n"
"""The separator of a reply's steps."""
NO_RESULT = "The program gave no result."
"""The critic's text after a program that failed or printed nothing."""


class SampleKind(StrEnum):
    """The four kinds of samples."""

    COT = "cot"
    CONTINUED = "continued"
    CRITIC = "critic"
    TIR = "tir"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """How often each case occurs in the corpus, as probabilities."""

    kinds: tuple[tuple[SampleKind, float], ...] = (
        (SampleKind.COT, 0.48),
        (SampleKind.CONTINUED, 0.2),
        (SampleKind.CRITIC, 0.25),
        (SampleKind.TIR, 0.07),
    )
    plain_levels: tuple[float, ...] = (0.75, 0.15, 0.1)
    """Levels of `cot` and `tir` samples: mostly those where mental arithmetic can be learned."""
    wrong_claims: float = 0.5
    """Steps for the critic with a wrong claimed value."""
    wrong_observations: float = 0.3
    """Observed values that are not the true ones, so that the model must read them."""
    spoiled_programs: float = 0.25
    """Critic targets with a mistake, so that the pocket makes mistakes."""
    closing_steps: float = 0.12
    """Steps for the critic without a computation."""
    own_programs: float = 0.12
    """Answers to the tool prompt that use programs."""

    def draw(self, rng: random.Random) -> Conversation:
        """One sample of the train split."""
        kinds, weights = zip(*self.kinds, strict=True)
        kind: SampleKind = rng.choices(kinds, weights)[0]
        plain = kind in (SampleKind.COT, SampleKind.TIR)
        level = rng.choices(LEVELS, self.plain_levels if plain else None)[0]
        draw = draw_problem(rng, rng.choice(list(FAMILIES)), level, "train")
        return _MAKERS[kind](rng, draw, self)


class LearnedText(NamedTuple):
    """A part of the assistant's turn."""

    text: str
    learned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One conversation with one reply, which ends the turn."""

    kind: SampleKind
    messages: tuple[Message, ...]
    reply: tuple[LearnedText, ...]


class Walk(NamedTuple):
    """A solution with the value that each step is given."""

    steps: list[tuple[SolutionStep, str]]
    answer: str


def _cot(rng: random.Random, draw: Draw, mixture: Mixture) -> Conversation:
    reply = _plain(_walk(rng, draw, 0.0), 0)
    return Conversation(
        kind=SampleKind.COT, messages=POCKET.for_cot(draw.question), reply=tuple(reply)
    )


def _continued(rng: random.Random, draw: Draw, mixture: Mixture) -> Conversation:
    walk = _walk(rng, draw, mixture.wrong_observations)
    refined = rng.randint(1, len(walk.steps))
    reply: list[LearnedText] = []
    for step, value in walk.steps[:refined]:
        text = "".join(piece.text for piece in refined_step(step, step.code, value))
        reply.append(LearnedText(text + NEXT_STEP, learned=False))
    reply += _plain(walk, refined)
    return Conversation(
        kind=SampleKind.CONTINUED, messages=POCKET.for_cot(draw.question), reply=tuple(reply)
    )


def _critic(rng: random.Random, draw: Draw, mixture: Mixture) -> Conversation:
    walk = _walk(rng, draw, mixture.wrong_observations)
    if rng.random() < mixture.closing_steps:
        paragraph = closing_line(walk.answer)
        reply = [LearnedText(paragraph, learned=True)]
    else:
        step, _ = rng.choice(walk.steps)
        wrong = rng.random() < mixture.wrong_claims
        paragraph = step.plain(wrong_value(rng, step.value) if wrong else step.value)
        if rng.random() < mixture.spoiled_programs:
            reply = badly_refined_step(step, spoil(rng, step.code, step.value))
        else:
            reply = refined_step(
                step, step.code, observed_value(rng, step, mixture.wrong_observations)
            )
    return Conversation(
        kind=SampleKind.CRITIC, messages=POCKET.for_critic(paragraph), reply=tuple(reply)
    )


def _tir(rng: random.Random, draw: Draw, mixture: Mixture) -> Conversation:
    walk = _walk(rng, draw, 0.0)
    reply: list[LearnedText] = []
    if rng.random() < mixture.own_programs:
        for step, value in walk.steps:
            reply += [*refined_step(step, step.code, value), LearnedText(NEXT_STEP, learned=True)]
        reply += _plain(walk, len(walk.steps))
    else:
        reply = _plain(walk, 0)
    return Conversation(
        kind=SampleKind.TIR, messages=POCKET.for_tir(draw.question), reply=tuple(reply)
    )


_MAKERS: dict[SampleKind, Callable[[random.Random, Draw, Mixture], Conversation]] = {
    SampleKind.COT: _cot,
    SampleKind.CONTINUED: _continued,
    SampleKind.CRITIC: _critic,
    SampleKind.TIR: _tir,
}


def _walk(rng: random.Random, draw: Draw, wrong: float) -> Walk:
    """Follow a solution in which each value is wrong with probability `wrong`.

    If a wrong value makes the rest impossible (a division by zero), all values are right.
    """
    wording = rng.random()
    try:
        return follow(draw, random.Random(wording), lambda step: observed_value(rng, step, wrong))
    except (ValueError, ZeroDivisionError):
        return follow(draw, random.Random(wording), lambda step: step.value)


def follow(draw: Draw, words: random.Random, believe: Callable[[SolutionStep], str]) -> Walk:
    """A solution with the wording of `words` and, for each step, the value of `believe`.

    Raises ValueError or ZeroDivisionError if a wrong value makes the rest impossible.
    """
    solution = draw.solve(words)
    steps: list[tuple[SolutionStep, str]] = []
    try:
        step = next(solution)
        while True:
            steps.append((step, believe(step)))
            step = solution.send(steps[-1][1])
    except StopIteration as end:
        return Walk(steps, end.value)


def observed_value(rng: random.Random, step: SolutionStep, wrong: float) -> str:
    """The step's value, or with probability `wrong` a wrong one."""
    return wrong_value(rng, step.value) if rng.random() < wrong else step.value


def _plain(walk: Walk, start: int) -> list[LearnedText]:
    """Steps from `start` on without programs, then the boxed answer."""
    paragraphs = [step.plain(value) for step, value in walk.steps[start:]]
    return [LearnedText(NEXT_STEP.join([*paragraphs, closing_line(walk.answer)]), learned=True)]


def closing_line(answer: str) -> str:
    """The sentence that boxes the answer."""
    return f"The answer is \\boxed{{{answer}}}."


def refined_step(step: SolutionStep, code: str, observation: str) -> list[LearnedText]:
    """The task, its program, the program's output, and the finding."""
    return [
        LearnedText(f"{step.task}\n```python\n{code}\n```\n", learned=True),
        LearnedText(f"```output\n{observation}\n```\n", learned=False),
        LearnedText(step.found(observation), learned=True),
    ]


def badly_refined_step(step: SolutionStep, spoiled: Spoiled) -> list[LearnedText]:
    """The same for a program with a mistake."""
    task, output, finding = refined_step(step, spoiled.code, spoiled.observation)
    return [task, output, LearnedText(NO_RESULT, learned=True) if spoiled.failed else finding]
