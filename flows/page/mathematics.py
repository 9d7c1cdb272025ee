"""Text with LaTeX in it as HTML: formulas become MathML, which browsers set without any library.

The text is a model's or a data set's, so it is hostile: what latex2mathml makes of a formula is
kept only as far as `_KEPT` allows, everything else is escaped, and a formula that is too long, too
deep or broken stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markupsafe import Markup, escape

from storage.text import visible

LONGEST: Final = 2000
"""Characters of a formula that is set; longer ones are shown as text."""
_DEEPEST: Final = 40
"""Braces inside braces: latex2mathml recurses."""

_OPENING = re.compile(
    r"(?P<display>\$\$|\\\[)"  # a formula on lines of its own
    r"|(?P<inline>\\\(|(?<![\\$\d])\$(?=[^\s$]))"  # `$` before a blank, or behind a digit, is money
    r"|(?P<environment>\\begin\{(?P<name>(?:align|equation|gather|cases|[pbvV]?matrix)\*?)\})"
    r"|(?P<boxed>\\boxed\{)"  # outside of a formula, as answers often stand
)
_CLOSING: Final = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}
_DOLLAR_ENDS = re.compile(r"(?<![\s\\])\$(?!\d)")

_MATHML: Final = "http://www.w3.org/1998/Math/MathML"
_KEPT: Final = {
    "math": {"display"}, "mrow": set(), "mi": {"mathvariant"}, "mn": set(), "mo": {
        "stretchy", "fence", "form", "minsize", "maxsize", "lspace", "rspace", "movablelimits",
    }, "mtext": set(), "mspace": {"width", "linebreak"}, "ms": set(), "mfrac": {"linethickness"},
    "msqrt": set(), "mroot": set(), "mstyle": {"displaystyle", "scriptlevel"}, "mpadded": set(),
    "mphantom": set(), "msub": set(), "msup": set(), "msubsup": set(), "munder": {"accentunder"},
    "mover": {"accent"}, "munderover": set(), "mmultiscripts": set(), "mprescripts": set(),
    "mtable": {"columnalign", "rowspacing"}, "mtr": set(), "mtd": {"columnalign"},
    "menclose": {"notation"},
}  # fmt: skip
"""Elements of MathML with the attributes that are kept: none that links, styles or runs."""


def with_mathematics(text: str) -> Markup:
    """The text as HTML, its formulas as MathML; safe whatever the text is."""
    return Markup("").join(_parts(visible(text)))


def answer_with_mathematics(answer: str) -> Markup:
    """A gold or final answer, which is a formula as a whole where it has LaTeX and no dollars."""
    return with_mathematics(f"${answer}$" if "\\" in answer and "$" not in answer else answer)


def _parts(text: str) -> Iterator[Markup]:
    position = 0
    while found := _OPENING.search(text, position):
        end = _end(text, found)
        formula = text[found.start() : end] if end else ""
        set_formula = _mathml(formula, found) if end else None
        if end is None or set_formula is None:
            yield escape(text[position : found.end()])
            position = found.end()
        else:
            yield escape(text[position : found.start()])
            yield set_formula
            position = end
    yield escape(text[position:])


def _end(text: str, opening: re.Match[str]) -> int | None:
    """Behind the formula's closing mark; None where it has none within `LONGEST`."""
    limit = opening.end() + LONGEST
    if opening["boxed"]:
        return _closing_brace(text, opening.end(), limit)
    if opening["environment"]:
        closing = f"\\end{{{opening['name']}}}"
    elif opening[0] == "$":
        found = _DOLLAR_ENDS.search(text, opening.end(), limit)
        return found.end() if found and "\n\n" not in text[opening.end() : found.end()] else None
    else:
        closing = _CLOSING[opening[0]]
    at = text.find(closing, opening.end(), limit)
    return None if at < 0 else at + len(closing)


def _closing_brace(text: str, start: int, limit: int) -> int | None:
    depth = 1
    for at in range(start, min(limit, len(text))):
        if text[at] in "{}" and text[at - 1] != "\\":
            depth += 1 if text[at] == "{" else -1
            if depth == 0:
                return at + 1
    return None


def _mathml(formula: str, opening: re.Match[str]) -> Markup | None:
    """The formula set; None where it cannot be."""
    if opening["boxed"] or opening["environment"]:
        latex = formula
    else:
        latex = formula[len(opening[0]) : -len(_CLOSING.get(opening[0], "$"))]
    if not _braces_close(latex):
        return None
    display = "block" if opening["display"] or opening["environment"] else "inline"
    try:
        tree = ElementTree.fromstring(convert(latex, display=display))
    except Exception:  # noqa: BLE001 - a converter on hostile input: what it raises has no bound
        return None
    if not _allowed(tree):
        return None
    ElementTree.register_namespace("", _MATHML)
    return Markup(ElementTree.tostring(tree, encoding="unicode"))


def _braces_close(latex: str) -> bool:
    """Every brace has its other, and none lies deeper than `_DEEPEST`."""
    depth = 0
    for character in latex:
        depth += (character == "{") - (character == "}")
        if not 0 <= depth <= _DEEPEST:
            return False
    return depth == 0


def _allowed(tree: ElementTree.Element) -> bool:
    """Drop attributes that are not kept; False where an element is not."""
    for element in tree.iter():
        name = element.tag.removeprefix(f"{{{_MATHML}}}")
        if name not in _KEPT:
            return False
        for attribute in set(element.attrib) - _KEPT[name]:
            del element.attrib[attribute]
    return True
