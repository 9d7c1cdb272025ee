"""The sans-IO core: the requests of a program over the TIR loop, and their results.

A program is a generator that yields `Generate` and `Execute` requests and is sent a `Completion` or
an `Execution` for each. It uses no network and no clock, so the same code runs under Prefect, under
asyncio and in a test that answers by hand. The driver reports failures by throwing one of the
exceptions below, or an `EngineError`, at the place of the request.
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
    """The model that a generation request is for."""

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
    """The sandbox could not run the program after all its retries; the code is not the reason."""


class TimeLimitReached(Exception):
    """The trajectory used up its wall time."""


class OffFormat(Exception):
    """A model wrote text that the loop must not continue from; the message names model and text."""


@dataclass(slots=True)
class Sampler:
    """Samples one role in one trajectory: the model's renderer, sampling parameters and seeds.

    The n-th call of a sampler always has the same seed, so a trajectory depends neither on what
    runs at the same time nor on interruptions.
    """

    role: Role
    renderer: Renderer | None
    sampling: Sampling
    seed: int
    calls: int = 0

    def sample(
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
    """A 31-bit seed that depends on every part, and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF
