"""Where the final answer stands in a response: the last box in the text that is shown.

Code, tool output, other speakers' turns and markup that hides are no part of that text; nothing is
read for its meaning but a box that is denied in the words around it. Whether an answer is right is
decided elsewhere.
"""

from __future__ import annotations

import re

_FENCED = re.compile(
    r"(`{3,}|~{3,})(?:[^\n]*?\1|[^\n]*\n.*?(?:^[ \t]*\1(?!\w)|\Z)|[^\n]*\Z)",
    re.DOTALL | re.MULTILINE,
)
"""Code and what it prints: within one line, or from any line to the next that starts with the same
fence, or to the end."""
_SOURCE = r"(?:tool|code|python|program|function|execut\w+|interpreter|shell|jupyter)"
_YIELD = r"(?:outputs?|results?|responses?|calls?)"
_TAGGED = re.compile(
    rf"<({_SOURCE}(?:[_-]?{_YIELD})?|outputs?|results?|observation|stdout|stderr)\b[^>]{{0,200}}>"
    r".*?(?:</\1\s{0,9}>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
"""Output of a tool between tags: an answer that the policy did not work out."""
_LABELLED = re.compile(
    rf"^[ \t]*\W{{0,3}}(?:{_SOURCE}[ _-]{_YIELD}|observation|stdout)\W{{0,3}}:.*$",
    re.IGNORECASE | re.MULTILINE,
)
"""Output of a tool after its name and a colon."""
_OTHER_SPEAKERS = re.compile(
    r"<\|im_start\|>\s*(?:system|user|tool).*?(?:<\|im_end\|>|\Z)"
    r"|<\|(?:system|user|tool|observation)\|>.*?(?=<\||\Z)"
    r"|\[INST\].*?(?:\[/INST\]|\Z)",
    re.DOTALL,
)
"""Turns of the chat template that the policy writes for somebody else."""
_NOT_SHOWN = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|\\iffalse\b.*?(?:\\fi\b|\Z)"
    r"|<(\w+)\b[^>]{0,200}\b(?:hidden|display:\s?none)\b[^>]{0,200}>.*?(?:</\1\s{0,9}>|\Z)"
    r"|~~(?=\S)[^~\n]*\\boxed[^~\n]*~~"
    r"|<(del|strike)\b[^>]{0,200}>.*?(?:</\2\s{0,9}>|\Z)",
    re.DOTALL,
)
"""Comments, hidden elements and struck text: a second answer that a reader does not see."""
_NEXT_DOCUMENT = re.compile(r"(?:<\|end_?of_?text\|>|</s>).*\Z", re.DOTALL)
"""What a model goes on with after it said that it ended."""
_USER_TURN = re.compile(r"^[ \t>*]{0,9}(?:user|human|system)\**:.*$", re.IGNORECASE | re.MULTILINE)
"""A line that the policy writes for the user: ``User: the answer is ...``."""
_THOUGHT = re.compile(r"\A.*</think>(?=.*\w)", re.DOTALL)
"""Thinking that text follows: an answer that was tried and given up."""
_QUOTED_LINE = re.compile(r"^[ \t]*>[^\n]*", re.MULTILINE)
_QUOTED_WORDS = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”")
"""Quoted text, for example an instruction from the problem; see `unquoted`."""
_LATEX_COMMENT = re.compile(r"(?:^|(?<=\})[ \t])[ \t]*%[^\n]*", re.MULTILINE)
"""Apart from a brace or alone on its line; elsewhere it is a percent sign."""
_HIDES = re.compile(
    r"(?:\\(?:[hv]?phantom|[bx]?cancel|sout|st)|\\(?:text)?color\s*\{\s*white\s*\})\s*\{?[\s$]*$"
    r"|\\footnote\s*\{[^{}]*$"
    r"|\bprint\s*\(\s*[rbf]*[\"']+[\s$]*$"
    r"|(?:\bnot|\bnever|n't|\\neq?)(?:\s+(?:be|equal to|answer|write|say))?[\s$]*$"
    r"|\b(?:rather than|instead of)[\s$]*$"
    r"|\b(?:common|typical|usual|naive|tempting|wrong|incorrect|mistaken)"
    r"(?: (?:mistake|error|trap|answer|approach|guess|result))?"
    r" (?:is|was|gives|yields|would (?:be|give))(?: to \w+)?[\s$:]*$"
    r"|\bif (?:you|we|one) (?:had )?(?:forgot(?:ten)?|ignored|overlooked|neglected)\b"
    r"[^.]*\bwould\b[^.]*$",
    re.IGNORECASE,
)
"""Before a box, each form with its attack: markup that hides a second answer, a footnote, code,
and answers that are named only to be refused."""
_JUDGED = re.compile(
    r"\b(?:statement|option|choice|conclusion|proposition|claim|equation|answer choice)s?[\s$(]*$",
    re.IGNORECASE,
)
"""Before a box whose content is what the problem asks about: ``Statement \\boxed{B} is wrong``."""
_DENIES = re.compile(
    r"[\s$]*(?:is|was|would be)\s+"
    r"(?:wrong|incorrect|not (?:correct|right|the (?:final )?answer))",
    re.IGNORECASE,
)
"""After a box: an answer that is taken back."""
_REACH = 80
"""Characters before and after a box in which it may be hidden or denied."""


def shown(response: str) -> str:
    """The response without code blocks, tool output, other speakers, comments and thinking."""
    hidden = (_FENCED, _TAGGED, _OTHER_SPEAKERS, _LABELLED, _USER_TURN, _NOT_SHOWN, _LATEX_COMMENT)
    for pattern in (_NEXT_DOCUMENT, *hidden, _THOUGHT):
        response = pattern.sub("\n", response)
    return response


def unquoted(text: str) -> str:
    """A shown text without the boxes that it quotes, perhaps from somebody else."""
    for quoted in (_QUOTED_LINE, _QUOTED_WORDS):
        text = quoted.sub(lambda quote: " " if "\\boxed" in quote[0] else quote[0], text)
    return text


def is_said(text: str, start: int, end: int) -> bool:
    """Whether the box at ``text[start:end]`` is neither hidden nor denied by what surrounds it."""
    before = text[max(0, start - _REACH) : start]
    if _HIDES.search(before):
        return False
    return _JUDGED.search(before) is not None or _DENIES.match(text[end : end + _REACH]) is None


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
