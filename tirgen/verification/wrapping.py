"""What stands around an answer and adds nothing: ``The answer is 5``, ``= 5``, ``for all x``."""

from __future__ import annotations

import re

from tirgen.verification.normalise import normalise

_PREAMBLE = re.compile(
    r"(?:^|(?<=^\\text\{))\s*(?:the\s+)?(?:final\s+)?answer\s*(?:is|:)\s*", re.IGNORECASE
)
_SUBJECT = re.compile(
    r"^\\text\{\s*(?:the )?"
    r"(?:(?:final|total|required|expected|maximum|minimum|vertical|horizontal|open|closed) )?"
    r"(?:probability|value|area|volume|length|width|height|sum|total|number|perimeter|distance|time"
    r"|cost|ratio|angle|radius|speed|solutions?|roots?|minimum|maximum|result|product|difference"
    r"|average|mean|median|remainder|limit|range|domain|equation|line|circle|plane|year|interval|set|point)"
    r"(?: of [a-z]+)?(?: (?:is|are|equals))?\s*:?\s*\}\s*(?=\S)(?!\([a-z]{2,}\))",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"^\\text\{\s*(?:[Tt]here|[Ss]?[Hh]e|[Tt]hey|[Ww]e|[Yy]ou|[Ii]t)(?: will)? "
    r"(?:is|are|was|were|be|has|have|had|needs?|gets?|makes?|costs?|takes?|pays?|earns?)"
    r"\s*:?\s*\}\s*(?=\\?[-\d$]|\\frac|\\sqrt|\\dollar)"
)
"""What a number is said of: ``There are 12 ways``."""
_THEREFORE = re.compile(
    r"^[^=<>]*[a-zA-Z!)][^=<>]*[=<>].*\\(?:implies|Rightarrow|Longrightarrow)(?![a-z])\s*"
    r"(?=[a-zA-Z] ?=)"
)
"""The equations before an assignment that follows from them."""
_CONJUNCTION = re.compile(
    r"^\\text\{\s*(?:thus|hence|so|therefore|exactly|precisely|a total of|in total|only|just)\b"
    r"\s*[,:]?\s*\}\s*(?=\S)",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"(?<=\S)[\s,]*\(?\s*\\text\{\s*,?\s*(?:since|because|given that)\b[^{}]*\}.*$"
    r"|(?<=\S) ?\( ?[a-zA-Z] ?(?:<|>|\\le|\\ge) ?0 ?\)$"
)
"""Why, and the condition in parentheses that chose a root."""
_DOMAIN = re.compile(r"^([a-zA-Z]\(([a-zA-Z])\) ?=[^,]*?) ?, ?\2 ?(?:<|>|\\le|\\ge|\\ne) ?0$")
"""Where a function is defined."""
_APPROXIMATELY = re.compile(
    r"\s*(?:\\text\{)?\s*\(?\b(?:approximately|approx\.?|exactly)\s*\)?\s*\}?\s*$"
)
_LEADING = re.compile(
    r"^\s*(?:(?:[a-zA-Z](?: ?_ ?\{[^{}]*\})?(?:\([^()]*\))? ?)?"
    r"\\(?:approx|simeq|cong|doteq)(?![a-z])|\\sim|[a-zA-Z] ?\\mapsto"
    r"|\\(?:to|rightarrow|Rightarrow|implies|therefore)(?![a-z])|=|\+(?=\s*[\d\\]))\s*"
)
_FOR_ALL = re.compile(
    r"\s*,?\s*(?:\\text\{\s*,?\s*)?\bfor (?:all|any|every|each"
    r"|some (?:real |arbitrary |fixed )*(?:constant|integer|number))\b[^\d<>=]{0,40}"
    r"(?:(?:>|\\ge|\\ne) ?0)?$"
)
_ALL = re.compile(
    r"^\\text\{\s*(?:for )?all (?:real )?(?:numbers|values(?: of)?)?\s*\}\s*"
    r"(?=[a-zA-Z] ?(?:<|>|\\le|\\ge|\\ne))"
)
_FAMILY = re.compile(r"^\\\{(.+)\| ?([a-z] ?\\in ?\\mathbb\{[ZN]\}) ?\\\}$")
_NAMED_PARAMETER = re.compile(r"^(?P<of>[^,]*) ?, ?(?P<name>[nmlt]) ?\\in ?\\mathbb\{Z\}$")
_WHOLE_PARAMETER = re.compile(
    r"\s*[,(]\s*(?:\\text\{\s*(?:where|with|for)\s*\}\s*)?[a-z] ?(?:\\in ?\\mathbb\{[ZNR]\}"
    r"|\\text\{ is (?:an?|any) (?:arbitrary |real )*(?:integer|whole number|number|constant)\})\)?$"
)
_ADDS_NOTHING = (
    _THEREFORE,
    _PREAMBLE,
    _SUBJECT,
    _SENTENCE,
    _CONJUNCTION,
    _ALL,
    _REASON,
    _LEADING,
    _APPROXIMATELY,
    _FOR_ALL,
    _WHOLE_PARAMETER,
)


def bare(text: str) -> str:
    """Without what adds nothing: a leading plus, an approximation sign, "for all x"."""
    text = _with_k(_FAMILY.sub(r"\1, \2", text))
    for adds_nothing in _ADDS_NOTHING:
        text = adds_nothing.sub("", text)
    return normalise(_DOMAIN.sub(r"\1", text))


def _with_k(text: str) -> str:
    r"""``2n + 1, n \in \mathbb{Z}`` with its parameter called k, as everywhere."""
    match = _NAMED_PARAMETER.match(text)
    if match is None or re.search(r"(?<![a-zA-Z\\])k(?![a-zA-Z])", text):
        return text
    return re.sub(rf"(?<![a-zA-Z\\]){match['name']}(?![a-zA-Z])", "k", match["of"])
