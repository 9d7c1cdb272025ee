"""Which fields a hosted chat endpoint accepts, learned from what it refuses.

There is no standard for the fields of a chat request: some endpoints refuse `top_k`, some a
temperature other than 1, some every unknown field. So a test question is sent with the fields of a
real request; a refused field is left out, and the question is sent again. Only this fixed question
decides, never a prompt of the data: a hostile problem cannot switch a field off.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tirgen.engine.errors import EngineMisconfigured

Body = dict[str, Any]
Refusal = Callable[[Body], Awaitable[str | None]]
"""Sends a body: the endpoint's message if it refused, None if it accepted."""

LEAVABLE = ("top_k", "seed", "stream_options", "top_p", "temperature")
"""Fields that can be left out, the least standard first. The first one that a refusal names is left
out: some endpoints take only one of `temperature` and `top_p`, and then the temperature stays."""
LIMITS = ("max_tokens", "max_completion_tokens")
"""The two names of the token limit; OpenAI's reasoning models need the second."""


class Continuation(StrEnum):
    """How an endpoint is asked to continue a reply."""

    FINAL_MESSAGE = "continue_final_message"
    """vLLM's fields."""
    PREFIX = "prefix"
    """A flag on the last message: Mistral, DeepSeek."""
    LAST = "last message"
    """No field: a last message of the assistant is continued (llama.cpp)."""
    ASKED = "asked"
    """A user message asks for it, which models do not always follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The fields that an endpoint accepts, as far as learned."""

    limit_field: str = "max_tokens"
    left_out: frozenset[str] = frozenset()
    """The fields of `LEAVABLE` that are not sent."""
    continuation: Continuation = Continuation.ASKED

    def shape(self, fields: Mapping[str, Any], max_tokens: int) -> Body:
        """The fields of a request as this endpoint accepts them."""
        kept = {name: value for name, value in fields.items() if name not in self.left_out}
        return {**kept, self.limit_field: max_tokens}


async def learn(dialect: Dialect, fields: Body, max_tokens: int, refusal: Refusal) -> Dialect:
    """The dialect in which the endpoint accepts these fields; unchanged if it accepts them now.

    Raises `EngineMisconfigured` with the endpoint's message when no choice of fields helps.
    """
    tried = {dialect}
    while (words := await refusal(dialect.shape(fields, max_tokens))) is not None:
        changed = _as_named(words, dialect, fields)
        if changed is None or changed in tried:
            return await _by_trial(fields, max_tokens, refusal, words)
        tried.add(changed)
        dialect = changed
    return dialect


def _as_named(words: str, dialect: Dialect, fields: Body) -> Dialect | None:
    """The dialect without the field that the refusal names; None if it names no sent field."""
    for field in LEAVABLE:
        if field in fields and field not in dialect.left_out and _names(words, field):
            return replace(dialect, left_out=dialect.left_out | {field})
    if _names(words, dialect.limit_field):
        other = next(name for name in LIMITS if name != dialect.limit_field)
        return replace(dialect, limit_field=other)
    return None


def _names(words: str, field: str) -> bool:
    return re.search(rf"(?<![a-z_]){field}(?![a-z_])", words) is not None


async def _by_trial(fields: Body, max_tokens: int, refusal: Refusal, words: str) -> Dialect:
    """For refusals that name no field: leave all fields out, then add them back one by one."""
    present = [field for field in LEAVABLE if field in fields]
    for limit in LIMITS:
        dialect = Dialect(limit_field=limit, left_out=frozenset(present))
        if await refusal(dialect.shape(fields, max_tokens)) is None:
            break
    else:
        raise EngineMisconfigured(
            f"The endpoint refuses a test question: {words} Correct the settings of this engine; "
            "`omit` leaves out fields that it does not accept, `extra` adds fields that it needs."
        )
    for field in reversed(present):
        fuller = replace(dialect, left_out=dialect.left_out - {field})
        if await refusal(fuller.shape(fields, max_tokens)) is None:
            dialect = fuller
    return dialect
