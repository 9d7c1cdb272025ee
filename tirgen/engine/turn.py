"""How a chat template writes an assistant's turn, found out by having it write one.

A policy is asked with the prompt up to the opening of its turn, and must then say itself whatever
the template has there: an empty thinking section, the opening and closing of its thinking, and what
ends the turn.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tirgen.engine.template import ChatTemplate

OPEN, CLOSE = "<think>", "</think>"
_QUESTION, _REPLY, _REASONING = "\ufdd1question\ufdd1", "\ufdd1reply\ufdd1", "\ufdd1reasoning\ufdd1"
"""Texts that no template has in it."""


class Turn(NamedTuple):
    """What belongs to a turn beside the words of the reply; all of it the template's own text."""

    lead: str
    """What stands before a reply without thinking."""
    before_thinking: str | None
    """What stands before thinking; None where the prompt has closed it already."""
    after_thinking: str
    """What stands between thinking and reply."""
    end: str
    """What ends the turn, up to and with its token; empty where the model has no such token."""


def find_turn(template: ChatTemplate, tokens: re.Pattern[str], end_token: str) -> Turn:
    """The turn of a template. `tokens` matches what the tokenizer knows as one token of its own,
    `end_token` ends a turn that the template ends with none.

    Raises EngineRefused for a template that refuses a question and its answer.
    """
    asked: list[dict[str, Any]] = [{"role": "user", "content": _QUESTION}]
    said = {"role": "assistant", "content": _REPLY}
    prompt = template.render(asked)
    plain = template.render([*asked, said], add_generation_prompt=False)
    thought = template.render(
        [*asked, {**said, "reasoning_content": _REASONING}], add_generation_prompt=False
    )
    before, _, after = plain.partition(_REPLY)
    opened, closed = (prompt.rstrip().endswith(mark) for mark in (OPEN, CLOSE))
    end = tokens.search(after)
    return Turn(
        lead=_rest(prompt, before, f"\n{CLOSE}\n\n" if opened else ""),
        before_thinking=None if closed else _before_thinking(prompt, thought, opened),
        after_thinking=_between(thought) or f"\n{CLOSE}\n\n",
        end=after[: end.end()] if end else end_token,
    )


def _rest(prompt: str, written: str, otherwise: str) -> str:
    """What a turn adds to the prompt that asks for it."""
    return written.removeprefix(prompt) if written.startswith(prompt) else otherwise


def _before_thinking(prompt: str, thought: str, opened: bool) -> str:
    default = "" if opened else f"{OPEN}\n"
    if _REASONING not in thought:
        return default
    return _rest(prompt, thought.partition(_REASONING)[0], default)


def _between(thought: str) -> str:
    """Empty for a template that writes no reasoning."""
    return thought.partition(_REASONING)[2].partition(_REPLY)[0]
