"""Extracts the question from a text column or chat messages, without a trainer's instructions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tirgen.data.columns import structured
from tirgen.data.errors import NoQuestion

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
        # Qwen-Math and data sets that follow it, e.g. ToRL and SimpleRL
        r"(?P<question>.+?)\s*Please (?:reason step by step|integrate natural language reasoning "
        r"with programs to solve the problem above), and put your final answer within "
        r"\\boxed\{\}\.?",
        # Eurus-2
        r"(?P<question>.+?)\s*Present the answer in LaTex format: \\boxed\{Your answer\}\.?",
        # SimpleRL-Zoo for models without a chat template
        r"Question:\s*(?P<question>.+?)\s*Answer:\s*Let's think step by step\.?",
    )
)
"""Instructions published around the question; they contradict tirgen's own prompts."""

_RENDERED = tuple(
    re.compile(rf".*{user}(?P<user>.+?){end}.*", re.DOTALL)
    for user, end in (
        # ChatML: Qwen, and SimpleRL-Zoo's data
        (r"<\|im_start\|>user\n", r"(?:<\|im_end\|>|<\|im_start\|>assistant)"),
        # Llama 3
        (r"<\|start_header_id\|>user<\|end_header_id\|>\n\n", r"<\|eot_id\|>"),
        # Gemma
        (r"<start_of_turn>user\n", r"<end_of_turn>"),
        # Phi and Zephyr
        (r"<\|user\|>\n?", r"(?:<\|end\|>|</s>|<\|assistant\|>)"),
        # DeepSeek
        (r"<｜User｜>", r"<｜Assistant｜>"),
        # Mistral, Llama 2
        (r"\[INST\]\s*(?:<<SYS>>.*?<</SYS>>)?", r"\[/INST\]"),
        # DeepSeek-R1-Zero's prompt for models without a template: Open-Reasoner-Zero, TinyZero
        (r"A conversation between User and Assistant\..*\n?User:\s*", r"\n\s*Assistant:"),
    )
)
"""Whole conversations rendered by a chat template; the last user turn is the question."""

_SEGMENT = re.compile(r"(?<=[.!?:])\s+|\n+")
_ABOUT_ANSWERING = re.compile(
    r"\\boxed|####|step[ -]by[ -]step|final answer|your answer|your reasoning|<answer>|<think>",
    re.IGNORECASE,
)
LEAST_QUESTIONS = 5
"""Different questions needed to tell shared instructions from the questions themselves."""


def question_text(value: object) -> str:
    """The question of a column: text, rendered or structured chat messages, or content parts.

    Raises `NoQuestion`.
    """
    held = structured(value)
    if isinstance(held, list):
        return _from_turns(held)
    if isinstance(value, str) and value.strip():
        return unwrapped(value.strip())
    raise NoQuestion("has no question")


def single_question(value: object) -> str:
    """The question of a conversation with exactly one question. Raises `NoQuestion`."""
    asked = [turn for turn in turns(value) if turn[0] == "user"]
    if len(asked) > 1:
        raise NoQuestion(f"is a conversation of {len(asked)} questions, not of one")
    return question_text(value)


def turns(value: object) -> list[tuple[str, str]]:
    """Role and text of each turn of a conversation; roles are `user`, `assistant`, `system` etc.

    Raises `NoQuestion` where a turn has more than text.
    """
    held = structured(value)
    found = []
    for turn in held if isinstance(held, list) else []:
        if isinstance(turn, Mapping):
            role = str(turn.get("role") or turn.get("from") or "").lower()
            said = turn.get("content", turn.get("value"))
            found.append((_ROLES.get(role, role), content_text(said)))
    return found


def content_text(content: object) -> str:
    """The text of a turn: a string, or parts that are all text (OpenAI's content parts)."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind not in ("text", "input_text"):
            raise NoQuestion(f"shows {kind}, and only text is read")
        texts.append(str(part.get("text", "")) if isinstance(part, Mapping) else str(part))
    return "\n".join(texts)


def unwrapped(question: str) -> str:
    """The question without a rendered chat or a known instruction around it."""
    for pattern in _RENDERED:
        if match := pattern.fullmatch(question):
            question = match["user"].strip()
            break
    for wrapper in _WRAPPERS:
        if match := wrapper.fullmatch(question):
            return match["question"].strip()
    return question


def shared_instructions(questions: Sequence[str]) -> Callable[[str], str]:
    """A function that removes the sentences about answering that all questions begin or end with.

    A data set's own instruction is the same text around each of its questions. So no list of
    instructions is needed if there are `LEAST_QUESTIONS` to compare. Shared sentences that are not
    about answering ("Find x.") belong to the question.
    """
    distinct = sorted(set(questions))
    if len(distinct) < LEAST_QUESTIONS:
        return lambda question: question
    split = [_SEGMENT.split(question) for question in distinct]
    opening = _instruction(_shared(split))
    closing = _instruction(_shared([list(reversed(parts)) for parts in split]))

    def bare(question: str) -> str:
        start = _end_of(question, opening)
        end = len(question) - _end_of(question[::-1], [part[::-1] for part in closing])
        return question[start:end].strip() or question

    return bare


def _from_turns(held: list[Any]) -> str:
    said = [text for role, text in turns(held) if role == "user"]
    if not said or not said[-1].strip():
        raise NoQuestion("has no question")
    return unwrapped(said[-1].strip())


def _shared(split: Sequence[Sequence[str]]) -> list[str]:
    """The segments with which all questions begin; at least one segment stays for the question."""
    shared = []
    for parts in zip(*(parts[:-1] for parts in split), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared


def _instruction(shared: Sequence[str]) -> list[str]:
    """The shared segments up to the last one that is about answering."""
    about = [index for index, part in enumerate(shared) if _ABOUT_ANSWERING.search(part)]
    return list(shared[: about[-1] + 1]) if about else []


def _end_of(text: str, segments: Sequence[str]) -> int:
    """Where the segments end with which `text` begins; 0 if it does not begin with them."""
    position = 0
    for segment in segments:
        while position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith(segment, position):
            return 0
        position += len(segment)
    return position


_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
"""Roles of ShareGPT and others, and the chat format's names for them."""
