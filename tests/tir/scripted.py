"""Answering a program by hand: a character-level renderer and completions made from text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from storage.records import Ending, Outcome
from tirgen.engine.protocol import Completion, Finish, Message, Sampling
from tirgen.sandbox.contract import Execution, Limits
from tirgen.tir.builder import TrajectoryBuilder, build
from tirgen.tir.core import Execute, Generate, Loop, Result, Role, Sampler
from tirgen.tir.programs import Bounds
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.transcript import Transcript

Answers: TypeAlias = Iterable[Result | Exception]
See: TypeAlias = Callable[[Generate | Execute], None]
"""What looks at each request before it is answered."""

END = 0
"""The end-of-turn token; every other token is a character's code point."""


class CharacterRenderer:
    """One token a character."""

    fingerprint = "characters"

    def prompt_ids(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        return self.encode("".join(f"<{m.role}>{m.content}" for m in messages) + "<assistant>")

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def encode_own(self, text: str) -> tuple[int, ...]:
        return self.encode(text)

    def decode(self, token_ids: tuple[int, ...]) -> str:
        return "".join(chr(token) for token in token_ids if token != END)


def said(text: str, *, stop: str | None = None, ended: bool = False) -> Completion:
    """What an engine returns when it has sampled `text`."""
    ids = (*map(ord, text), *((END,) if ended else ()))
    return Completion(
        text=text,
        token_ids=ids,
        logprobs=tuple(-0.5 for _ in ids),
        finish=Finish.STOP if stop or ended else Finish.LENGTH,
        stop_reason=stop,
        prompt_tokens=10,
        completion_tokens=len(ids),
        seconds=0.1,
    )


def ran(stdout: str, outcome: Outcome = Outcome.OK, stderr: str = "") -> Execution:
    return Execution(
        outcome=outcome,
        stdout=stdout,
        stderr=stderr,
        exit_code=0 if outcome is Outcome.OK else 1,
        wall_ms=5.0,
        cpu_ms=4.0,
        peak_memory_mb=20.0,
        truncated=False,
    )


def sampler(role: Role, max_tokens: int = 1000) -> Sampler:
    return Sampler(role, CharacterRenderer(), Sampling(max_tokens=max_tokens), seed=7)


def story(question: str = "Q") -> TrajectoryBuilder:
    return TrajectoryBuilder(Transcript((Message("user", question),), CharacterRenderer()))


def bounds(**changes: object) -> Bounds:
    values = {
        "step_tokens": 200,
        "step_delimiter": "\n\n",
        "steps": 8,
        "tokens": 2000,
        "tool_rounds": 8,
        "tool_rounds_per_step": 3,
    }
    return Bounds(**{**values, **changes})  # type: ignore[arg-type]


TOOLS = ToolPolicy(limits=Limits(), observation_characters=1024, stop_at_failure=True)


def answer(
    of: TrajectoryBuilder,
    program: Loop[Ending],
    answers: Answers,
    see: See = lambda request: None,
) -> TrajectoryBuilder:
    """Drive a program with prepared answers; fails when it asks for more or for fewer."""
    loop = build(of, program)
    try:
        request = next(loop)
        for result in answers:
            see(request)
            request = loop.throw(result) if isinstance(result, Exception) else loop.send(result)
    except StopIteration as stop:
        told: TrajectoryBuilder = stop.value
        return told
    raise AssertionError(f"the program asks for more: {request}")
