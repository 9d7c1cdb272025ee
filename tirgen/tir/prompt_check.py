"""Whether a prompt set asks for what the loop needs, and a model's chat template keeps its text."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from tirgen.engine.errors import EngineRefused
from tirgen.engine.protocol import Message
from tirgen.engine.renderer import HfRenderer
from tirgen.tir.prompts import PLACEHOLDERS, Part, PromptSet

QUESTION = "What is the sum of the cubes of the roots of x^2 - 5x + 6?"
STEP = "The polynomial x^2 - 5x + 6 has roots 1 and 6, so the sum of their cubes is 217."
EXAMPLES: dict[Part, str] = {"cot": QUESTION, "tir": QUESTION, "critic": STEP}
"""What takes the placeholder's place."""
_WORDS: dict[Part, tuple[str, ...]] = {
    "cot": ("\\boxed",),
    "tir": ("\\boxed", "Python"),
    "critic": ("Python",),
}
"""What each prompt must mention: only a boxed answer counts, and only Python runs."""


class CheckLevel(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


class PromptFinding(NamedTuple):
    """What one check found."""

    prompt: Part
    level: CheckLevel
    found: str


def example(prompts: PromptSet, part: Part) -> tuple[Message, ...]:
    """The messages of a prompt, with an example in the placeholder's place."""
    return prompts.messages(part, EXAMPLES[part])


def findings(prompts: PromptSet, renderer: HfRenderer | None) -> Iterator[PromptFinding]:
    """At least one finding for each prompt; without a renderer of the texts alone."""
    for part in PLACEHOLDERS:
        messages = example(prompts, part)
        yield from _of_the_text(part, messages)
        if renderer is not None:
            yield _of_the_template(part, messages, renderer)


def _of_the_text(part: Part, messages: tuple[Message, ...]) -> Iterator[PromptFinding]:
    text = "\n".join(message.content for message in messages)
    absent = [word for word in _WORDS[part] if word.lower() not in text.lower()]
    for word in absent:
        yield PromptFinding(part, CheckLevel.WARN, f"it does not mention {word}")
    if not absent:
        yield PromptFinding(part, CheckLevel.OK, f"{len(text):,} characters with an example")


def _of_the_template(
    part: Part, messages: tuple[Message, ...], renderer: HfRenderer
) -> PromptFinding:
    try:
        ids = renderer.prompt_ids(messages)
    except EngineRefused as error:
        return PromptFinding(part, CheckLevel.FAIL, str(error))
    text = renderer.shown(ids)
    lost = [message.role for message in messages if message.content.strip() not in text]
    if lost:
        return PromptFinding(
            part, CheckLevel.FAIL, f"the chat template changes the {lost[0]} message"
        )
    return PromptFinding(part, CheckLevel.OK, f"{len(ids):,} tokens under the chat template")
