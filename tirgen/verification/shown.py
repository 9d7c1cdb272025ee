"""Which text of a response the policy says and a reader is shown; the rest can hold no answer.

Code, tool output, other speakers' turns and markup that hides go; nothing is read for its meaning
but a box that is denied in the words around it.
"""

from __future__ import annotations

import re

_FENCED = re.compile(
    r"(`{3,}|~{3,})(?:[^\n]*?\1|[^\n]*\n.*?(?:^[ \t]*\1(?!\w)|\Z)|[^\n]*\Z)",
    re.DOTALL | re.MULTILINE,
)
"""Within one line, or from any line to the next that starts with the same fence, or to the end."""
_SOURCE = r"(?:tool|code|python|program|function|execut\w+|interpreter|shell|jupyter)"
_YIELD = r"(?:outputs?|results?|responses?|calls?)"
_TAGGED = re.compile(
    rf"<({_SOURCE}(?:[_-]?{_YIELD})?|outputs?|results?|observation|stdout|stderr)\b[^>]{{0,200}}>"
    r".*?(?:</\1\s{0,9}>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_LABELLED = re.compile(
    rf"^[ \t]*\W{{0,3}}(?:{_SOURCE}[ _-]{_YIELD}|observation|stdout)\W{{0,3}}:.*$",
    re.IGNORECASE | re.MULTILINE,
)
_OTHER_SPEAKERS = re.compile(
    r"<\|im_start\|>\s*(?:system|user|tool).*?(?:<\|im_end\|>|\Z)"
    r"|<\|(?:system|user|tool|observation)\|>.*?(?=<\||\Z)"
    r"|\[INST\].*?(?:\[/INST\]|\Z)",
    re.DOTALL,
)
_NOT_SHOWN = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|\\iffalse\b.*?(?:\\fi\b|\Z)"
    r"|<(\w+)\b[^>]{0,200}\b(?:hidden|display:\s?none)\b[^>]{0,200}>.*?(?:</\1\s{0,9}>|\Z)"
    r"|~~(?=\S)[^~\n]*\\boxed[^~\n]*~~"
    r"|<(del|strike)\b[^>]{0,200}>.*?(?:</\2\s{0,9}>|\Z)",
    re.DOTALL,
)
_NEXT_DOCUMENT = re.compile(r"(?:<\|end_?of_?text\|>|</s>).*\Z", re.DOTALL)
"""What a model goes on with after it said that it ended."""
_USER_TURN = re.compile(r"^[ \t>*]{0,9}(?:user|human|system)\**:.*$", re.IGNORECASE | re.MULTILINE)
_THOUGHT = re.compile(r"\A.*</think>(?=.*\w)", re.DOTALL)
"""Thinking that an answer follows."""
_QUOTED_LINE = re.compile(r"^[ \t]*>[^\n]*", re.MULTILINE)
_QUOTED_WORDS = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”")
_LATEX_COMMENT = re.compile(r"(?:^|(?<=\})[ \t])[ \t]*%[^\n]*", re.MULTILINE)
"""Apart from a brace or alone on its line; elsewhere it is a percent sign."""
_HIDES = re.compile(
    r"(?:\\(?:[hv]?phantom|[bx]?cancel|sout|st)|\\(?:text)?color\s*\{\s*white\s*\})\s*\{?[\s$]*$"
    r"|\\footnote\s*\{[^{}]*$"
    r"|\bprint\s*\(\s*[rbf]*[\"']+$"
    r"|(?:\bnot|\bnever|n't|\\neq?)(?:\s+(?:be|equal to|answer|write|say))?[\s$]*$"
    r"|\b(?:rather than|instead of)[\s$]*$"
    r"|\b(?:common|typical|usual|naive|tempting|wrong|incorrect|mistaken)"
    r"(?: (?:mistake|error|trap|answer|approach|guess|result))?"
    r" (?:is|was|gives|yields|would (?:be|give))(?: to \w+)?[\s$:]*$"
    r"|\bif (?:you|we|one) (?:had )?(?:forgot(?:ten)?|ignored|overlooked|neglected)\b"
    r"[^.]*\bwould\b[^.]*$",
    re.IGNORECASE,
)
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
