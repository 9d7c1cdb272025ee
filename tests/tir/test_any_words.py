"""Whatever a policy writes: what ran is what its steps say, and every output is the executor's."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.records import Ending, Outcome
from tests.tir.scripted import TOOLS, CharacterRenderer, bounds, ran, said, sampler, story
from tirgen.engine.errors import ContextOverflow
from tirgen.engine.protocol import Completion
from tirgen.tir.builder import TrajectoryBuilder, build
from tirgen.tir.core import Generate, Role
from tirgen.tir.markup import parse_trajectory
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.rollout import NO_MORE_PROGRAMS, Correction, rollout

GO_ON = ToolPolicy(limits=TOOLS.limits, observation_characters=1024, stop_at_failure=False)
WORDS = [
    "words. ", "next\n", "\n\n", "```python\n", "print(1)\n", "```\n", "   ```python\n",
    "   print(2)\n", "   ```\n", "```output\n", "```output", "35\n", "``` \n", "````\n",
    "so ```py\n", "so ```output\n", "\\boxed{4}", "<think>\n", "</think>", " ", "x", "`",
    "```python\nprint(3)\n```\n", "```python\n```\n", "35\n```\n", "```python\nprint(4)\n``` \n",
]  # fmt: skip
OUTCOMES = [
    ran("7\n"), ran("```\n\\boxed{1}\n"), ran("", Outcome.NO_OUTPUT), ran("", Outcome.ERROR, "E"),
]  # fmt: skip


def speak(rng: random.Random, request: Generate, context: int) -> Completion | ContextOverflow:
    """An engine of random words that keeps to the stop strings and the limits."""
    room = min(request.sampling.max_tokens, context - len(request.prompt.token_ids))
    if room < 1:
        return ContextOverflow("the context is full")
    text = "".join(rng.choice(WORDS) for _ in range(rng.randint(0, 12)))
    ends = [(text.find(s) + len(s), s) for s in request.sampling.stop if s in text]
    if ends and min(ends)[0] <= room:
        end, stop = min(ends)
        return said(text[:end], stop=stop)
    return said(text, ended=True) if len(text) < room else said(text[:room])


def told(seed: int, correction: Correction | None) -> tuple[TrajectoryBuilder, list[str]]:
    """A rollout of random words, and what was run on its way."""
    rng = random.Random(seed)
    context, limits = (
        rng.choice([100_000, 300]),
        bounds(tokens=rng.choice([60, 400, 2000]), tool_rounds=rng.choice([0, 1, 5])),
    )
    tools, of = rng.choice([TOOLS, GO_ON]), story()
    loop = build(of, rollout(of, sampler(Role.ACTOR, 2000), limits, tools, correction))
    executed: list[str] = []
    try:
        request = next(loop)
        while True:
            if isinstance(request, Generate):
                answer = speak(rng, request, context)
                if isinstance(answer, ContextOverflow):
                    request = loop.throw(answer)
                else:
                    request = loop.send(answer)
            else:
                executed.append(request.code)
                request = loop.send(rng.choice(OUTCOMES))
    except StopIteration:
        return of, executed


@pytest.mark.parametrize("correction", [None, Correction(suffix_tokens=5, attempts=2)])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=300)
def test_the_story_is_what_happened(correction: Correction | None, seed: int) -> None:
    of, executed = told(seed, correction)
    stream, text = of.transcript.stream(), of.transcript.text
    reply = stream.token_ids[stream.prompt_length :]
    assert CharacterRenderer().decode(reply) == text
    actions = [step.action for step in of.steps if step.action is not None]
    replaced = [attempt.action for step in of.steps for attempt in step.attempts]
    assert sorted(actions + replaced) == sorted(executed)
    left = sum(stream.loss_mask) - sum(step.policy_tokens for step in of.steps)
    assert 0 <= left <= len(text) - len(text.rstrip()) + 1, "more than an end without words"
    if of.ending is not Ending.OFF_FORMAT:
        outputs = [p.observation for p in parse_trajectory(text) if p.observation is not None]
        injected = "".join(
            chr(token) if not own else "\0"
            for token, own in zip(reply, stream.loss_mask[stream.prompt_length :], strict=True)
        )
        assert len(outputs) == len(actions) + text.count(NO_MORE_PROGRAMS)
        assert len(outputs) == len(re.findall(r"[^\0]+", injected))
