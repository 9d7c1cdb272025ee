r"""Stretches of the number line: intervals, inequalities, their unions, ``\mathbb{R}`` less points.

All become intervals and unions of them, so that ``x < 2`` is ``(-\infty, 2)``.
"""

from __future__ import annotations

import re
from itertools import pairwise

from tirgen.verification.normalise import normalise
from tirgen.verification.parts import Kind, Shape, split_outside, split_top
from tirgen.verification.rationals import parse_rational

_RELATION = re.compile(r"(\\le |\\ge |<|>)")
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_VARIABLE = re.compile(r"[a-zA-Z]|\\(?:theta|alpha|beta|lambda|mu)")
_MODULUS = re.compile(
    r"^\|([a-zA-Z])(?: ?([+-]) ?([\d./]+|\\frac ?\{\d+\} ?\{\d+\}))?\| ?(<|>|\\le|\\ge) ?([^<>|]+)$"
)
_UNEQUAL = re.compile(r"^[a-zA-Z] ?\\ne ((?:[^<>\\a-zA-Z]|\\(?:frac|sqrt|pi)(?![a-z]))+)$")
_POINT = re.compile(r"[a-zA-Z] ?= ?([^<>=]+)")
_OPEN_OUTWARDS = re.compile(r"^([\[\]])([^\[\]();]+[,;][^\[\]();]+)([\[\]])$")
_WITHOUT = re.compile(
    r"^(?:\\mathbb\{R\}|\\text\{\s*all real numbers)\s*"
    r"(?:\\setminus|\\backslash|-(?=\s*\\\{)|\\?\b(?:except|but|other than)(?: for)?\b)"
    r"\s*\}?\s*(?:[a-z] ?= ?)?(?:\\\{)?((?:[^{}]|\\text\{ ?(?:and|or) ?\})*?)(?:\\\})?$"
)
_WITHOUT_STRETCH = re.compile(
    r"^\\mathbb\{R\} ?(?:\\setminus|\\backslash) ?([(\[])([^,()\[\]]+),([^,()\[\]]+)([)\]])$"
)
_INTERVAL_WITHOUT = re.compile(
    r"^([(\[])([^,()\[\]]+),([^,()\[\]]+)([)\]]) ?(?:\\setminus|\\backslash|-) ?\\\{([^{}]*)\\\}$"
)
_STRETCH = re.compile(r"\[.*[)\]]$|\(.*\]$|\(.*\\infty.*\)$")
"""An interval that is no pair of coordinates."""
_UNION = re.compile(r"\\cup(?![a-zA-Z])|(?<=[)\]}]) ?U ?(?=[(\[\\])")
_AND_OR = re.compile(r"\\text\{ ?(?:and|or) ?\}")
_LINE = Shape(Kind.INTERVAL, ("-\\infty", "\\infty"))
_OR = re.compile(r"\bor\b")


def range_of(text: str) -> Shape | None:
    """The interval or union that a normalised answer describes, or None if it is none."""
    return _without_points(text) or _union(text) or _open_outwards(text) or _inequality(text)


def joined(text: str, parts: list[str]) -> Shape | None:
    """Inequalities listed: ``x < 0 or x = 1`` as a union, ``x > 0 and x < 1`` as an interval."""
    lines = [_inequality(part) for part in parts]
    if not any(lines):
        stretches = all(_STRETCH.match(part) for part in parts)
        return Shape(Kind.UNION, tuple(parts)) if stretches and _OR.search(text) else None
    if punctured := _unequal(parts):
        return punctured
    if _OR.search(text):
        points = (_POINT.fullmatch(part) for part in parts)
        named = [
            rf"\{{{point[1]}\}}" if point else part
            for point, part in zip(points, parts, strict=True)
        ]
        return Shape(Kind.UNION, tuple(named))
    return _overlap(lines[0], lines[1]) if len(lines) == 2 else None


def _unequal(parts: list[str]) -> Shape | None:
    r"""``0 < x < 2, x \ne 1`` and ``x \ne 0, 1`` as what is left of the interval or the line."""
    holes = [_UNEQUAL.match(part) for part in parts]
    start = _LINE if holes[0] else _inequality(parts[0])
    points = [hole[1].strip() if hole else part for hole, part in zip(holes, parts, strict=True)]
    if start is None or not (holes[0] or all(holes[1:])):
        return None
    return _punctured(start, points if holes[0] else points[1:])


def _overlap(first: Shape | None, second: Shape | None) -> Shape | None:
    """What two half-lines in opposite directions have in common."""
    if first is None or second is None:
        return None
    if first.parts[0] == "-\\infty":
        first, second = second, first
    if first.parts[-1] != "\\infty" or second.parts[0] != "-\\infty":
        return None
    ends = first.parts[0], second.parts[-1]
    return Shape(Kind.INTERVAL, ends, (first.closed[0], second.closed[1]))


def _union(text: str) -> Shape | None:
    parts = split_outside(text, _UNION)
    if len(parts) < 2:
        return None
    if all(part.startswith("\\{") and part.endswith("\\}") for part in parts):
        members = [member for part in parts for member in split_top(part[2:-2])]
        return Shape(Kind.SET, tuple(members))
    return Shape(Kind.UNION, tuple(parts))


def _without_points(text: str) -> Shape | None:
    r"""``\mathbb{R} \setminus \{-1\}`` as the union of what is left."""
    if stretch := _WITHOUT_STRETCH.match(text):
        left, right = ("]" if stretch[1] == "(" else ")"), ("[" if stretch[4] == ")" else "(")
        parts = f"(-\\infty,{stretch[2]}{left}", f"{right}{stretch[3]},\\infty)"
        return Shape(Kind.UNION, parts)
    if match := _WITHOUT.match(text):
        return _punctured(_LINE, split_top(_AND_OR.sub(",", match[1])))
    if match := _INTERVAL_WITHOUT.match(text):
        closed = (match[1] == "[", match[4] == "]")
        return _punctured(Shape(Kind.INTERVAL, (match[2], match[3]), closed), split_top(match[5]))
    return None


def _punctured(interval: Shape, points: list[str]) -> Shape | None:
    """An interval less rational points within it, as the union of what is left."""
    if interval.kind is not Kind.INTERVAL:
        return None
    values = {point: number.value for point in points if (number := parse_rational(point))}
    ends = [parse_rational(end) for end in interval.parts]
    inside = all(
        (ends[0] is None or ends[0].value < value) and (ends[1] is None or value < ends[1].value)
        for value in values.values()
    )
    if len(values) != len(points) or not inside:
        return None
    cuts = [interval.parts[0], *sorted(points, key=values.__getitem__), interval.parts[1]]
    gaps = [[f"({left}", f"{right})"] for left, right in pairwise(cuts)]
    if interval.closed[0]:
        gaps[0][0] = f"[{interval.parts[0]}"
    if interval.closed[1]:
        gaps[-1][1] = f"{interval.parts[1]}]"
    return Shape(Kind.UNION, tuple(",".join(gap) for gap in gaps))


def _open_outwards(text: str) -> Shape | None:
    """``]2, 5]``, where others write ``(2, 5]``; ``[2, 5]`` is left to the usual notation."""
    match = _OPEN_OUTWARDS.match(text)
    if match is None or (match[1], match[3]) == ("[", "]"):
        return None
    ends = split_top(match[2])
    if len(ends) != 2:
        return None
    return Shape(Kind.INTERVAL, tuple(ends), (match[1] == "[", match[3] == "]"))


def _inequality(text: str) -> Shape | None:
    r"""``a < x \le b`` and ``x > a`` as the interval they describe."""
    if "," in text or "or" in text or "and" in text:
        return None
    if unequal := _UNEQUAL.match(text):
        value = unequal[1].strip()
        return Shape(Kind.UNION, (f"(-\\infty,{value})", f"({value},\\infty)"))
    if bounded := _MODULUS.match(text):
        return _within(bounded[2] or "+", bounded[3] or "0", bounded[4], bounded[5].strip())
    parts = [part.strip() for part in _RELATION.split(text)]
    if len(parts) == 3:
        return _half_line(*parts)
    return _between(*parts) if len(parts) == 5 else None


def _within(sign: str, shift: str, relation: str, bound: str) -> Shape:
    r"""``|x| < a`` as ``(-a, a)``, ``|x - 1| \ge a`` as all but the stretch around 1."""
    low, high, closed = normalise(f"-{bound}"), bound, relation not in "<>"
    if shift != "0":
        low, high = _moved(sign, shift, bound, -1), _moved(sign, shift, bound, 1)
    if relation in ("<", "\\le"):
        return Shape(Kind.INTERVAL, (low, high), (closed, closed))
    left, right = ("]", "[") if closed else (")", "(")
    return Shape(Kind.UNION, (f"(-\\infty,{low}{left}", f"{right}{high},\\infty)"))


def _moved(sign: str, shift: str, bound: str, side: int) -> str:
    """The end of the stretch of half-width `bound` around the point where ``x sign shift`` is 0."""
    centre, width = parse_rational(shift), parse_rational(bound)
    if centre is None or width is None:
        return normalise(f"{'-' if sign == '+' else ''}{shift} {'+' if side > 0 else '-'} {bound}")
    value = (-1 if sign == "+" else 1) * centre.value + side * width.value
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _between(low: str, first: str, name: str, second: str, high: str) -> Shape | None:
    if re.fullmatch(r"\|[a-zA-Z]\|", name) and (right := _between(low, first, "x", second, high)):
        return _mirrored(right)
    if not re.fullmatch(r"[a-zA-Z]|\\[a-z]+", name):
        return None
    if first in ("<", "\\le") and second in ("<", "\\le"):
        return Shape(Kind.INTERVAL, (low, high), (first == "\\le", second == "\\le"))
    if first in (">", "\\ge") and second in (">", "\\ge"):
        return Shape(Kind.INTERVAL, (high, low), (second == "\\ge", first == "\\ge"))
    return None


def _mirrored(right: Shape) -> Shape | None:
    """``1 < |x| < 2``: a stretch of positive numbers with that of their opposites."""
    low = parse_rational(right.parts[0])
    if low is None or low.value < 0:
        return None
    inner, outer = right.closed
    low_end, high_end = right.parts
    mirrored = f"{'(['[outer]}-{high_end},-{low_end}{')]'[inner]}"
    return Shape(Kind.UNION, (mirrored, f"{'(['[inner]}{low_end},{high_end}{')]'[outer]}"))


def _half_line(left: str, relation: str, right: str) -> Shape | None:
    if not re.fullmatch(r"[a-zA-Z]|\\[a-z]+", left):
        left, relation, right = right, _FLIPPED[relation], left
    if not _VARIABLE.fullmatch(left) or re.search(r"[a-zA-Z]", re.sub(r"\\[a-z]+", "", right)):
        return None
    if relation in ("<", "\\le"):
        return Shape(Kind.INTERVAL, ("-\\infty", right), (False, relation == "\\le"))
    return Shape(Kind.INTERVAL, (right, "\\infty"), (relation == "\\ge", False))
