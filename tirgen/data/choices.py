"""Questions with choices: puts the choices after the question; the right one is the gold answer.

The gold answer has letter and text, ``(B) 22``, so that a response may give either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from tirgen.data.columns import LETTERED, Fields, find, is_empty, lookup, structured
from tirgen.data.errors import NoAnswer

_LABEL = re.compile(r"\s*\(?([A-Za-z])\s*[).:]\s*(?=\S)")
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")


def choices_of(row: Fields, columns: Sequence[str]) -> list[str]:
    """The texts of the row's choices, without letters; empty where the row has no choices.

    Either one column has all choices, as a list or an object, or each choice has a column.
    """
    if len(columns) > 1:
        values = [lookup(row, column) for column in columns]
        return [str(value).strip() for value in values if not is_empty(value)]
    held = structured(lookup(row, columns[0])) if columns else None
    if isinstance(held, Mapping):
        texts = held.get("text")
        held = list(texts) if isinstance(texts, list) else list(held.values())
    if not isinstance(held, list):
        return []
    return _without_letters([str(item).strip() for item in held if not is_empty(item)])


def lettered_columns(names: Sequence[str]) -> list[str]:
    """The columns ``A``, ``B``, ``C``, ``D`` and perhaps ``E``; empty without the first four."""
    found = [column for column in find(names, LETTERED) if column.isupper()]
    return found if len(found) >= 4 else []


def with_choices(question: str, choices: Sequence[str]) -> str:
    """The question, followed by one line per choice."""
    if not choices:
        return question
    lines = (_named(index, choices) for index in range(len(choices)))
    return question + "\n\n" + "\n".join(lines)


def chosen(value: Any, choices: Sequence[str]) -> str:
    """The right choice with its letter. `value` is its letter, its text, or its index from 0.

    Raises `NoAnswer`.
    """
    if isinstance(value, bool) or is_empty(value):
        raise NoAnswer("has no answer")
    text = str(value).strip()
    letter = _LETTER.fullmatch(text)
    if text in choices:
        return _named(choices.index(text), choices)
    if letter and ascii_uppercase.index(letter[1].upper()) < len(choices):
        return _named(ascii_uppercase.index(letter[1].upper()), choices)
    if re.fullmatch(r"\d{1,2}(?:\.0)?", text) and float(text) < len(choices):
        return _named(int(float(text)), choices)
    labelled = _LABEL.match(text)
    if labelled and text[labelled.end() :] in choices:
        return _named(choices.index(text[labelled.end() :]), choices)
    raise NoAnswer(f"has the answer {text[:40]!r}, which is none of its {len(choices)} choices")


def _named(index: int, choices: Sequence[str]) -> str:
    return f"({ascii_uppercase[index]}) {choices[index]}"


def _without_letters(texts: list[str]) -> list[str]:
    """Remove the publisher's letters before the texts, if all are there and in order."""
    labels = [_LABEL.match(text) for text in texts]
    letters = "".join(label[1].upper() for label in labels if label)
    if letters != ascii_uppercase[: len(texts)]:
        return texts
    return [text[label.end() :] for text, label in zip(texts, labels, strict=True) if label]
