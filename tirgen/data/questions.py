"""The question itself: out of a text column or chat messages, without a trainer's instructions."""

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
        # Qwen-Math and those who follow it, ToRL and SimpleRL among them
        r"(?P<question>.+?)\s*Please (?:reason step by step|integrate natural language reasoning "
        r"with programs to solve the problem above), and put your final answer within "
        r"\\boxed\{\}\.?",
        # Eurus-2
        r"(?P<question>.+?)\s*Present the answer in LaTex format: \\boxed\{Your answer\}\.?",
        # SimpleRL-Zoo for models without a chat template
        r"Question:\s*(?P<question>.+?)\s*Answer:\s*Let's think step by step\.?",
    )
)
"""Instructions published around the question: they contradict the prompts the roles are given."""

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
"""Whole conversations as the text that a chat template made of them; the last user turn counts."""

_SEGMENT = re.compile(r"(?<=[.!?:])\s+|\n+")
_ABOUT_ANSWERING = re.compile(
    r"\\boxed|####|step[ -]by[ -]step|final answer|your answer|your reasoning|<answer>|<think>",
    re.IGNORECASE,
)
LEAST_QUESTIONS = 5
"""Different questions from which words that all share are told from words of the question."""


def question_text(value: object) -> str:
    """A question column: text, rendered or structured chat messages, or parts of content."""
    held = structured(value)
    if isinstance(held, list):
        return _from_turns(held)
    if isinstance(value, str) and value.strip():
        return unwrapped(value.strip())
    raise NoQuestion("has no question")


def single_question(value: object) -> str:
    """The question of a conversation that asks one. Raises `NoQuestion`."""
    asked = [turn for turn in turns(value) if turn[0] == "user"]
    if len(asked) > 1:
        raise NoQuestion(f"is a conversation of {len(asked)} questions, not of one")
    return question_text(value)


def turns(value: object) -> list[tuple[str, str]]:
    """Who says what in a conversation, roles as `user`, `assistant`, `system` and so on.

    Raises `NoQuestion` where it shows more than text.
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
    """What a turn says: text, or parts of which each is text (OpenAI's content parts)."""
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
    """The bare question where it stands in a rendered chat or a known instruction."""
    for pattern in _RENDERED:
        if match := pattern.fullmatch(question):
            question = match["user"].strip()
            break
    for wrapper in _WRAPPERS:
        if match := wrapper.fullmatch(question):
            return match["question"].strip()
    return question


def shared_instructions(questions: Sequence[str]) -> Callable[[str], str]:
    """Takes off the sentences that open or close every question and speak of how to answer.

    A data set's own instruction is the same text around each of its questions, and a question
    never is: so no list of instructions is needed where there are `LEAST_QUESTIONS` to compare.
    Sentences that all share but that say nothing of answering ("Find x.") are the question's own.
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
    """The segments with which all begin; one at least stays for the question."""
    shared = []
    for parts in zip(*(parts[:-1] for parts in split), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared


def _instruction(shared: Sequence[str]) -> list[str]:
    """From the outside up to the last segment that speaks of answering."""
    about = [index for index, part in enumerate(shared) if _ABOUT_ANSWERING.search(part)]
    return list(shared[: about[-1] + 1]) if about else []


def _end_of(text: str, segments: Sequence[str]) -> int:
    """Where the segments end that `text` begins with; 0 where it does not."""
    position = 0
    for segment in segments:
        while position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith(segment, position):
            return 0
        position += len(segment)
    return position


_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
"""ShareGPT's names and others, as the chat format has them."""
