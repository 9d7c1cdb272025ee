"""The question itself: out of a text column or chat messages, without a trainer's instructions."""

from __future__ import annotations

import re

_WRAPPERS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # DAPO-Math-17k
        r"Solve the following math problem step by step\. The last line of your response should "
        r"be of the form Answer: [^\n]*?is the answer to the problem\.\s*"
        r"(?P<question>.+?)"
        r'(?:\s*Remember to put your answer on its own line after "Answer:"\.?)?',
        # verl's own GSM8K and MATH
        r"(?P<question>.+?)\s*Let's think step by step and output the final answer "
        r'(?:after "####"|within \\boxed\{\})\.?',
        # Qwen-Math and those who follow it, ToRL among them
        r"(?P<question>.+?)\s*Please (?:reason step by step|integrate natural language reasoning "
        r"with programs to solve the problem above), and put your final answer within "
        r"\\boxed\{\}\.?",
    )
)
"""Instructions published around the question: they contradict the prompts the roles are given."""


class NoQuestion(ValueError):
    """The row has no question; the message completes "this row ..."."""


def question_text(value: object) -> str:
    """A question column: text, or chat messages."""
    if isinstance(value, list):
        return from_chat(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise NoQuestion("has no question")


def from_chat(value: object) -> str:
    """What the user says last, freed from the instructions wrapped around it."""
    if isinstance(value, str):
        return unwrapped(question_text(value))
    messages = value if isinstance(value, list) else []
    said = [m.get("content") for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    return unwrapped(question_text(said[-1] if said and isinstance(said[-1], str) else None))


def unwrapped(question: str) -> str:
    """The bare question where it stands in a known instruction, else the text as it is."""
    for wrapper in _WRAPPERS:
        match = wrapper.fullmatch(question)
        if match:
            return match["question"].strip()
    return question
