"""Where the final answer stands in a response: the last box in the text that is shown.

Which text that is stands in `shown`. Whether an answer is right is decided elsewhere; nothing here
evaluates or compares anything.
"""

from __future__ import annotations

import re

from tirgen.verification.shown import is_said, shown, unquoted

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_NAME = re.compile(r"(?<![a-zA-Z\\])([a-zA-Z](?:_\{?\w\}?)?\s*=)\s*$")
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$,;&*:.]|\\[()\[\]]|\b(?:and|or|also|part)\b|\([a-hivx]{1,3}\)"
    r"|\\text\s*\{[^{}]*\}|\\quad)*"
    r"(?:(?<![a-zA-Z\\])[a-zA-Z](?:_\{?\w\}?)?\s*=\s*)?"
)
_NEIGHBOURS = 60
"""Characters between boxes beyond which they are answers of their own."""
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_NESTED = 24
"""Boxes around a box; those further in stay as written, and no such answer is read."""
_COMMENT = re.compile(r"(?<!\\)%[^\n]*\n")
_ANNOUNCED = re.compile(
    r"(?:^[ \t]*(?:####|A:|(?:final\s+)?answer\s*(?:is)?\s*:)"
    r"|\b(?:final\s+)?answer\s*(?:is|:)\s*:?"
    r"|^\W{0,6}(?:final\s+)?answer\W{0,6}\n\s*)"
    r"(.+)$",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_SENTENCE = re.compile(r"(?<=[^\s.])\.\s+[A-Z][a-z']*\s.*")


def extract_answer(response: str, *, require_box: bool = True) -> str | None:
    r"""The final answer of a response, as written, or None if it gives none.

    The last ``\boxed{}`` or ``\fbox{}`` with balanced braces wins; boxes joined by nothing but
    "and", "or" or commas are one answer, with the names in ``x = \boxed{2}``. With
    ``require_box=False`` an announced answer (``#### 42``, ``A: 42``, ``The answer is 42.``) is
    taken where there is no box.
    """
    text = shown(response)
    for said in (unquoted(text), text):
        if group := _last_group(said):
            return _together(said, group)
    return None if require_box else _announced(text)


def _last_group(text: str) -> list[tuple[int, int, str]]:
    """The last box that is said, with those before it that are joined to it as one list.

    From the end, so that a long response costs no more than its last boxes.
    """
    group: list[tuple[int, int, str]] = []
    for start, argument, end in reversed(_boxes(text)):
        content = _content(text[argument:end])
        if not content or not is_said(text, start, end):
            continue
        if group and not _joins(text[end : group[-1][0]]):
            break
        group.append((start, end, content))
    return group[::-1]


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """Every box as (start, start of its argument, end); those inside another are its content."""
    found: list[tuple[int, int, int]] = []
    closing = _closing_braces(text)
    for match in _BOX.finditer(text):
        start = match.end()
        end = closing.get(start)
        if end is None and text[start : start + 1].isalnum():
            end = start + 1
        if end is not None and not (found and match.start() < found[-1][2]):
            found.append((match.start(), start, end))
    return found


def _closing_braces(text: str) -> dict[int, int]:
    r"""For each brace that is closed, the position after its partner; ``\{`` is no brace."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            closing[opened.pop()] = match.end()
    return closing


def _content(argument: str) -> str:
    r"""What a box shows: its argument without braces, comments and boxes around all of it."""
    content = argument
    for _ in range(_NESTED):
        content = argument[1:-1] if argument.startswith("{") else argument
        content = _COMMENT.sub("\n", content).strip()
        inner = _BOX.match(content)
        if not inner or _closing_braces(content).get(inner.end()) != len(content):
            break
        argument = content[inner.end() :]
    return content


def _together(text: str, group: list[tuple[int, int, str]]) -> str:
    """One box as it is, several as a list with their names."""
    if len(group) == 1:
        return group[0][2]
    return ", ".join(_named(text, start, content) for start, _, content in group)


def _named(text: str, start: int, content: str) -> str:
    r"""What a box says with the name in front of it: ``x = \boxed{2}``."""
    name = _NAME.search(text[max(0, start - _NEIGHBOURS) : start])
    return f"{name[1]} {content}" if name else content


def _joins(between: str) -> bool:
    """Nothing but a conjunction or a comma stands between two boxes."""
    if len(between) > _NEIGHBOURS or not _BETWEEN_BOXES.fullmatch(between):
        return False
    return bool(re.search(r",|;|&|\b(?:and|or)\b|\([b-hivx]{1,3}\)", between))


def _announced(text: str) -> str | None:
    answers = _ANNOUNCED.findall(text)
    if not answers:
        return None
    answer = _NEXT_SENTENCE.sub("", answers[-1])
    return answer.strip("* \t").rstrip(". ").strip("$* ").rstrip(". ") or None
