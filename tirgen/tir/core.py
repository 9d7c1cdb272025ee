"""The sans-IO core: what a program over the TIR loop may ask for and what it is given.

A program is a generator that yields `Generate` and `Execute` requests and is sent a `Completion`
or an `Execution` for each. It touches no network and no clock, so the same code runs under
Prefect, under asyncio and in a test that answers by hand. The driver reports trouble by throwing
one of the exceptions below, or an `EngineError`, at the point of the request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from tirgen.engine.protocol import Completion, Prompt, Renderer, Sampling
from tirgen.sandbox.contract import Execution


class Role(StrEnum):
    """Whom a generation request is for."""

    ACTOR = "actor"
    CRITIC = "critic"


@dataclass(frozen=True, slots=True)
class Generate:
    """Continue this prompt."""

    role: Role
    prompt: Prompt
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Execute:
    """Run this program."""

    code: str


Request = Generate | Execute
Result = Completion | Execution
T = TypeVar("T")
Loop = Generator[Request, Result, T]


class SandboxFault(Exception):
    """The sandbox could not run the program, however often it was tried: nobody's code failed."""


class TimeLimitReached(Exception):
    """The trajectory used up its wall time."""


class OffFormat(Exception):
    """A model wrote text the loop must not continue from; the message says who and what."""


@dataclass(slots=True)
class Voice:
    """One role in one trajectory: its model's renderer, how it samples, and its own seeds.

    The n-th call of a voice always has the same seed, so a trajectory does not depend on what
    runs beside it, nor on having been interrupted.
    """

    role: Role
    renderer: Renderer | None
    sampling: Sampling
    seed: int
    calls: int = 0

    def speak(
        self, prompt: Prompt, *, stop: tuple[str, ...] = (), max_tokens: int | None = None
    ) -> Loop[Completion]:
        """Ask for one completion of at most `max_tokens` tokens."""
        self.calls += 1
        limit = self.sampling.max_tokens
        sampling = replace(
            self.sampling,
            stop=stop,
            max_tokens=limit if max_tokens is None else min(limit, max_tokens),
            seed=derive_seed(self.seed, self.role, self.calls),
        )
        result = yield Generate(self.role, prompt, sampling)
        assert isinstance(result, Completion)
        return result


def run_code(code: str) -> Loop[Execution]:
    """Ask for one execution."""
    result = yield Execute(code)
    assert isinstance(result, Execution)
    return result


def derive_seed(*parts: object) -> int:
    """A 31-bit seed that depends on every part and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF
