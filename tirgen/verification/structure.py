r"""The shape of an answer: an expression, list, set, tuple, interval, union, matrix, cases, ratio.

Shapes are compared part by part; what a part means is left to the scalar layers. Anything that
does not split cleanly stays a scalar.
"""

from __future__ import annotations

import re

from tirgen.verification.normalise import normalise, plain
from tirgen.verification.parts import Kind, Shape, spans, split_outside, split_top
from tirgen.verification.ranges import joined, range_of
from tirgen.verification.rationals import parse_rational

_MATRIX = re.compile(
    r"^[(\[]? ?\\begin\{([bp]?(?:small)?matrix|array)\}(?:\{[clr| ]*\})?(.*)\\end\{\1\} ?[)\]]?"
    r"(?: ?\^ ?\{? ?(T|\\top|\\intercal) ?\}?)?$",
    re.DOTALL,
)
_ROWS = re.compile(r"^\[ ?(\[[^\[\]]*\](?: ?, ?\[[^\[\]]*\])+) ?\]$")
_CASES = re.compile(r"^\\begin\{cases\}(.*)\\end\{cases\}$", re.DOTALL)
_TEXTS = re.compile(r"(?:\\text\{[^{}]*\}\s*)+")
_COLON = re.compile(r"\s*(?::|\\text\{ ?to ?\}|(?<=\d) to (?=\d)|\\colon)\s*")
_TERM = re.compile(r"(?<=[^\s({^_])\s*(?=[+-])")
_UNIT_VECTOR = re.compile(r"\s*\+?\s*(-?)\s*(.*?)\s*\\?(?:hat|vec|mathbf)?\s*\{?([ijk])\}?")
_CONJUNCTION = re.compile(r"\s*,?\s*(?:\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)\s*")
_NAME = r"(?:[a-zA-Z]|\\[a-zA-Z]+)(?:_ ?\{ ?[^{}]* ?\})?'?(?:\([a-zA-Z0-9, ]*\))?"
_NAMED_TUPLE = re.compile(rf"^\(({_NAME}(?: ?, ?{_NAME})+)\) ?= ?\(([^()]*)\)$")
_TRANSPOSED = re.compile(r"^[(\[]([^()\[\]]*)[)\]] ?\^ ?\{? ?(?:T|\\top|\\intercal) ?\}?$")
_LABELLED_POINT = re.compile(r"^[A-Z] ?(?=\([^()]*,[^()]*\)$)")
_MEMBER = re.compile(rf"^(?:{_NAME}(?: ?, ?{_NAME})*|\({_NAME}(?: ?, ?{_NAME})*\)) ?\\in\b ?(.+)$")
_REAL = re.compile(
    r"^([a-zA-Z]) ?\\in ?\\mathbb\{R\} ?(?:,|\\text\{ ?and ?\}) ?(?=\1 ?(?:<|>|\\le|\\ge|\\ne))"
)
_ELEMENT = re.compile(r"^[a-zA-Z] ?\\in\b ?(?=[(\[])")
_BUILDER = re.compile(r"^\\\{ ?[a-zA-Z] ?(?:\\in ?\\mathbb\{R\})? ?[:|] ?([^:|]+)\\\}$")
_FACTOR = re.compile(
    r"^(-(?=\()|-?(?:\d+|\\frac ?\{[^{}]*\} ?\{[^{}]*\})) ?(?:\\cdot ?)?((?:\(|\\begin).*)$",
    re.DOTALL,
)
_MOST_SPELLED_OUT = 32
_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z]) ?")


def shape_of(text: str) -> Shape:
    """Take a normalised answer apart one level."""
    if match := _NAMED_TUPLE.match(text):
        return _named_tuple(match[1], match[2])
    text = _REAL.sub("", text)
    for described in (_MEMBER, _BUILDER):
        if match := described.match(text):
            text = match[1].strip()
    return (
        _matrix(text)
        or _cases(text)
        or _ratio(text)
        or range_of(text)
        or _both_signs(text)
        or _listed(text)
        or _bracketed(_TRANSPOSED.sub(r"(\1)", _LABELLED_POINT.sub("", text)))
        or _scaled(text)
        or _plus_minus(text)
        or _unit_vectors(text)
        or Shape(Kind.SCALAR, (text,))
    )


def _named_tuple(names: str, values: str) -> Shape:
    """``(x, y) = (1, 2)`` as its values, in the order of the alphabet if the names have one."""
    keys, parts = split_top(names), split_top(values)
    ordered = all(key in "xyz" for key in keys) or all(key in "abcd" for key in keys)
    if ordered and len(keys) == len(parts):
        parts = [part for _, part in sorted(zip(keys, parts, strict=True))]
    return Shape(Kind.TUPLE, tuple(parts))


def _matrix(text: str) -> Shape | None:
    if match := _MATRIX.match(text):
        rows = [row for row in re.split(r"\\\\", match[2]) if row.strip()]
        cells = [[normalise(cell) for cell in row.split("&")] for row in rows]
        transposed = match[3] is not None
    elif match := _ROWS.match(text):
        cells = [split_top(row[1:-1]) for row in split_top(match[1])]
        transposed = False
    else:
        return None
    if all(len(row) == 1 and "=" in row[0] for row in cells):
        return Shape(Kind.LIST, tuple(row[0] for row in cells))
    widths = {len(row) for row in cells}
    if len(widths) != 1:
        return None
    cells = list(map(list, zip(*cells, strict=True))) if transposed else cells
    flat = tuple(cell for row in cells for cell in row)
    return Shape(Kind.MATRIX, flat, columns=len(cells[0]))


def _cases(text: str) -> Shape | None:
    r"""The rows of ``\begin{cases}``: pairs of a value and its condition, or equations."""
    match = _CASES.match(text)
    if match is None:
        return None
    rows = [row.replace("&", ";") for row in re.split(r"\\\\", match[1]) if row.strip()]
    if all("=" in row and ";" not in row for row in rows):
        return Shape(Kind.LIST, tuple(normalise(row) for row in rows))
    return Shape(Kind.CASES, tuple(normalise(f"({row})") for row in rows))


def _ratio(text: str) -> Shape | None:
    parts = split_outside(text, _COLON)
    simple = all(re.fullmatch(r"[\w.]+|\\(?:sqrt|frac)[\w{}\\]+|\(.*\)", part) for part in parts)
    return Shape(Kind.RATIO, tuple(parts)) if len(parts) > 1 and simple else None


def _listed(text: str) -> Shape | None:
    if _TEXTS.fullmatch(text):
        text = plain(text)
    parts = [piece for part in split_top(text) for piece in split_outside(part, _CONJUNCTION)]
    parts = [_ELEMENT.sub("", part) for part in parts if part]
    if len(parts) < 2:
        return None
    parts = _spelled_out(parts)
    return joined(text, parts) or Shape(Kind.LIST, tuple(parts))


def _spelled_out(parts: list[str]) -> list[str]:
    r"""Both signs of ``\pm 1``, and every number of ``1, 2, \ldots, 10``."""
    signed = [sign for part in parts for sign in getattr(_plus_minus(part), "parts", (part,))]
    if signed.count("\\ldots") != 1:
        return signed
    gap = signed.index("\\ldots")
    around = signed[gap - 2 : gap] + signed[gap + 1 : gap + 2]
    if gap < 2 or len(around) < 3 or not all(re.fullmatch(r"-?\d{1,6}", n) for n in around):
        return signed
    before, start, end = map(int, around)
    step = start - before
    if step == 0 or (end - start) % step or not 0 < (end - start) // step <= _MOST_SPELLED_OUT:
        return signed
    return [*signed[:gap], *map(str, range(start + step, end, step)), *signed[gap + 1 :]]


def _bracketed(text: str) -> Shape | None:
    if text.startswith("\\{") and text.endswith("\\}"):
        inner = text[2:-2].strip()
        if "|" in inner or ":" in inner or "\\{" in inner[1:]:
            return None
        parts = [part for part in split_top(inner) if part]
        return Shape(Kind.SET, tuple(dict.fromkeys(_spelled_out(parts)))) if parts else None
    if not (text[:1] in ("(", "[") and text[-1:] in (")", "]") and spans(text)):
        return None
    parts = split_top(text[1:-1])
    if len(parts) < 2:
        return None
    if text[0] == "[" and all(part.startswith("(") and spans(part) for part in parts):
        return Shape(Kind.LIST, tuple(parts))
    if len(parts) == 2 and ("[" in text[0] or "]" in text[-1] or "\\infty" in text):
        return Shape(Kind.INTERVAL, tuple(parts), (text[0] == "[", text[-1] == "]"))
    return Shape(Kind.TUPLE, tuple(parts))


def _scaled(text: str) -> Shape | None:
    r"""``\frac12(5, -1)`` as the tuple it is, and a matrix with a factor as a matrix."""
    match = _FACTOR.match(text)
    shape = (_matrix(match[2]) or _bracketed(match[2])) if match else None
    if match is None or shape is None or shape.kind not in (Kind.TUPLE, Kind.MATRIX):
        return None
    factor = "-1" if match[1] == "-" else match[1]
    parts = (_product(factor, part) for part in shape.parts)
    return Shape(shape.kind, tuple(parts), columns=shape.columns)


def _product(factor: str, part: str) -> str:
    first, second = parse_rational(factor), parse_rational(part)
    if first is None or second is None:
        return normalise(rf"{factor} \cdot ({part})")
    value = first.value * second.value
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _both_signs(text: str) -> Shape | None:
    r"""``(1 \pm a, 1 \mp a)``: the upper signs together, then the lower ones."""
    if "\\pm" not in text or "\\mp" not in text:
        return None
    upper = text.replace("\\pm", "+").replace("\\mp", "-")
    lower = text.replace("\\pm", "-").replace("\\mp", "+")
    return Shape(Kind.LIST, (normalise(upper), normalise(lower)))


def _plus_minus(text: str) -> Shape | None:
    if len(_PLUS_MINUS.findall(text)) != 1 or "\\mp" in text:
        return None
    before, after = _PLUS_MINUS.split(text)
    name = re.match(rf"^{_NAME} ?= ?", before)
    before = before[name.end() :] if name else before
    signs = (f"{before}+{after}" if before.strip() else after, f"{before}-{after}")
    return Shape(Kind.LIST, tuple(normalise(part) for part in signs))


def _unit_vectors(text: str) -> Shape | None:
    r"""``2i - 3j + k`` as the tuple of its components; ``i`` alone is a complex number."""
    found: dict[str, str] = {}
    for term in _TERM.split(text):
        match = _UNIT_VECTOR.fullmatch(term)
        if match is None or match[3] in found:
            return None
        if re.search(r"[ijk]", re.sub(r"\\[a-z]+", "", match[2])):
            return None
        found[match[3]] = normalise(f"{match[1]}{match[2] or '1'}")
    if "j" not in found:
        return None
    axes = "ijk" if "k" in found else "ij"
    return Shape(Kind.TUPLE, tuple(found.get(axis, "0") for axis in axes))
