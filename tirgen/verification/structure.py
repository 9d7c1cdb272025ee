r"""The shape of an answer: number or expression, list, set, tuple, interval, union, matrix.

Shapes are compared part by part; what a part means is left to the scalar layers. Anything that
does not split cleanly stays a scalar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from tirgen.verification.normalise import normalise


class Kind(StrEnum):
    SCALAR = "scalar"
    LIST = "list"
    SET = "set"
    TUPLE = "tuple"
    INTERVAL = "interval"
    UNION = "union"
    MATRIX = "matrix"


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer taken apart one level; `parts` are normalised answers themselves."""

    kind: Kind
    parts: tuple[str, ...]
    closed: tuple[bool, bool] = (False, False)
    """Of an interval: whether each end belongs to it."""
    columns: int = 0
    """Of a matrix."""


_MATRIX = re.compile(r"^\\begin\{([bp]?matrix|array)\}(?:\{[clr| ]*\})?(.*)\\end\{\1\}$", re.DOTALL)
_CONJUNCTION = re.compile(r"\s*,?\s*(?:\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)\s*")
_NAME = r"(?:[a-zA-Z]|\\[a-zA-Z]+)(?:_ ?\{ ?[^{}]* ?\})?'?(?:\([a-zA-Z0-9, ]*\))?"
_MEMBER = re.compile(rf"^(?:{_NAME}(?: ?, ?{_NAME})*|\({_NAME}(?: ?, ?{_NAME})*\)) ?\\in\b ?(.+)$")
_BUILDER = re.compile(r"^\\\{ ?[a-zA-Z] ?(?:\\in ?\\mathbb\{R\})? ?[:|] ?([^:|]+)\\\}$")
_RELATION = re.compile(r"(\\le |\\ge |<|>)")
_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z]) ?")
_MODULUS = re.compile(r"^\|([a-zA-Z])\| ?(<|\\le) ?([^<>|]+)$")
_UNEQUAL = re.compile(r"^[a-zA-Z] ?\\ne ([^<>\\a-zA-Z]+)$")


def shape_of(text: str) -> Shape:
    """Take a normalised answer apart one level."""
    for described in (_MEMBER, _BUILDER):
        if match := described.match(text):
            text = match[1].strip()
    return (
        _matrix(text)
        or _union(text)
        or _inequality(text)
        or _listed(text)
        or _bracketed(text)
        or _plus_minus(text)
        or Shape(Kind.SCALAR, (text,))
    )


def split_top(text: str, separators: str = ",;") -> list[str]:
    """Split at separators outside every bracket; thousands separators are not separators."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in separators and depth == 0 and not _is_thousands(text, position):
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [normalise(part) for part in parts]


def _is_thousands(text: str, comma: int) -> bool:
    if text[comma] != ",":
        return False
    before = re.search(r"(?:^|[^\d,.])\d{1,3}(?:,\d{3})*$", text[:comma])
    return bool(before and re.match(r"\d{3}(?!\d)", text[comma + 1 :]))


def _matrix(text: str) -> Shape | None:
    match = _MATRIX.match(text)
    if match is None:
        return None
    rows = [row for row in re.split(r"\\\\", match[2]) if row.strip()]
    cells = [[normalise(cell) for cell in row.split("&")] for row in rows]
    widths = {len(row) for row in cells}
    if len(widths) != 1:
        return None
    flat = tuple(cell for row in cells for cell in row)
    return Shape(Kind.MATRIX, flat, columns=widths.pop())


def _union(text: str) -> Shape | None:
    parts = split_outside(text, re.compile(r"\\cup(?![a-zA-Z])|(?<=[)\]}]) ?U ?(?=[(\[\\])"))
    if len(parts) < 2:
        return None
    sets = [shape for part in parts if (shape := _bracketed(part)) and shape.kind is Kind.SET]
    if len(sets) == len(parts):
        return Shape(Kind.SET, tuple(member for one in sets for member in one.parts))
    return Shape(Kind.UNION, tuple(parts))


def _listed(text: str) -> Shape | None:
    parts = [piece for part in split_top(text) for piece in split_outside(part, _CONJUNCTION)]
    parts = [part for part in parts if part]
    if len(parts) < 2:
        return None
    parts = [
        sign for part in parts for sign in (_plus_minus(part) or Shape(Kind.SCALAR, (part,))).parts
    ]
    ends = [_half_line(part) for part in parts]
    if all(ends) and re.search(r"\bor\b", text):
        return Shape(Kind.UNION, tuple(parts))
    return Shape(Kind.LIST, tuple(parts))


def _bracketed(text: str) -> Shape | None:
    if text.startswith("\\{") and text.endswith("\\}"):
        inner = text[2:-2].strip()
        if "|" in inner or ":" in inner or "\\{" in inner[1:]:
            return None
        parts = [part for part in split_top(inner) if part]
        return Shape(Kind.SET, tuple(parts)) if parts else None
    if not (text[:1] in ("(", "[") and text[-1:] in (")", "]") and _spans(text)):
        return None
    parts = split_top(text[1:-1])
    if len(parts) < 2:
        return None
    if len(parts) == 2 and ("[" in text[0] or "]" in text[-1] or "\\infty" in text):
        return Shape(Kind.INTERVAL, tuple(parts), (text[0] == "[", text[-1] == "]"))
    return Shape(Kind.TUPLE, tuple(parts))


def _spans(text: str) -> bool:
    """The first bracket closes at the very end."""
    depth = 0
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return position == len(text) - 1
    return False


def _plus_minus(text: str) -> Shape | None:
    if len(_PLUS_MINUS.findall(text)) != 1 or "\\mp" in text:
        return None
    before, after = _PLUS_MINUS.split(text)
    name = re.match(rf"^{_NAME} ?= ?", before)
    before = before[name.end() :] if name else before
    signs = (f"{before}+{after}" if before.strip() else after, f"{before}-{after}")
    return Shape(Kind.LIST, tuple(normalise(part) for part in signs))


def _inequality(text: str) -> Shape | None:
    r"""``a < x \le b`` and ``x > a`` as the interval they describe."""
    if "," in text or "or" in text or "and" in text:
        return None
    if unequal := _UNEQUAL.match(text):
        value = unequal[1].strip()
        return Shape(Kind.UNION, (f"(-\\infty,{value})", f"({value},\\infty)"))
    if bounded := _MODULUS.match(text):
        bound, closed = bounded[3].strip(), bounded[2] != "<"
        return Shape(Kind.INTERVAL, (normalise(f"-{bound}"), bound), (closed, closed))
    parts = _RELATION.split(text)
    if len(parts) == 3:
        return _half_line(text)
    if len(parts) != 5 or not re.fullmatch(r" ?([a-zA-Z]|\\[a-z]+) ?", parts[2]):
        return None
    low, first, _, second, high = (part.strip() for part in parts)
    if first in ("<", "\\le") and second in ("<", "\\le"):
        return Shape(Kind.INTERVAL, (low, high), (first == "\\le", second == "\\le"))
    if first in (">", "\\ge") and second in (">", "\\ge"):
        return Shape(Kind.INTERVAL, (high, low), (second == "\\ge", first == "\\ge"))
    return None


_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def _half_line(text: str) -> Shape | None:
    parts = [part.strip() for part in _RELATION.split(text)]
    if len(parts) != 3:
        return None
    left, relation, right = parts
    if not re.fullmatch(r"[a-zA-Z]|\\[a-z]+", left):
        left, relation, right = right, _FLIPPED[relation], left
    if not re.fullmatch(r"[a-zA-Z]|\\(?:theta|alpha|beta|lambda|mu)", left):
        return None
    if re.search(r"[a-zA-Z]", re.sub(r"\\[a-z]+", "", right)):
        return None
    if relation in ("<", "\\le"):
        return Shape(Kind.INTERVAL, ("-\\infty", right), (False, relation == "\\le"))
    return Shape(Kind.INTERVAL, (right, "\\infty"), (relation == "\\ge", False))


def split_outside(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split at matches outside every bracket."""
    parts, start = [], 0
    for match in separator.finditer(text):
        if _balanced(text[start : match.start()]):
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return [normalise(part) for part in parts]


def _balanced(text: str) -> bool:
    return sum((char in "([{") - (char in ")]}") for char in text) == 0
