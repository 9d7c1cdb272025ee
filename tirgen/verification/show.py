"""Values as text: LaTeX for the worker's libraries, and a line for people and for the store."""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification.values import (
    Based,
    Bracket,
    Cases,
    Choice,
    Clock,
    Date,
    Expression,
    Interval,
    Listing,
    Matrix,
    Named,
    Node,
    Num,
    Op,
    Opaque,
    Quantity,
    Ratio,
    Region,
    Relation,
    Residues,
    Set,
    Several,
    Sym,
    Text,
    Tuple,
    Unit,
    Value,
    kind,
)

_LATEX = {
    "div": r"\frac{{{}}}{{{}}}", "inv": r"\frac{{1}}{{{}}}", "pow": r"{{({})}}^{{{}}}",
    "sqrt": r"\sqrt{{{}}}", "root": r"\sqrt[{1}]{{{0}}}", "neg": "-({})", "abs": "|{}|",
    "factorial": "({})!", "binom": r"\binom{{{}}}{{{}}}",
}  # fmt: skip
_SIGNS = {"le": "≤", "ge": "≥", "ne": "≠", "approx": "≈", "in": "∈", "equiv": "≡"}
_AROUND: dict[type, tuple[str, str]] = {
    Tuple: ("(", ")"), Bracket: ("[", "]"), Set: ("{", "}"), Listing: ("", "")
}  # fmt: skip
_LONGEST = 200
_MANY_DIGITS = "of many digits"


def latex(node: Node) -> str:
    """An expression as LaTeX that reads back as itself, but for numbers too long to write."""
    match node:
        case Num(value) if _is_long(value):
            return rf"\text{{a number {_MANY_DIGITS}}}"
        case Num(value):
            top, bottom = value.numerator, value.denominator
            return str(top) if bottom == 1 else rf"\frac{{{top}}}{{{bottom}}}"
        case Sym(name):
            named = name if len(name) == 1 else rf"\text{{{name}}}"
            return {"pi": r"\pi", "oo": r"\infty"}.get(name, named)
        case Op("add" | "mul" as name, args):
            parts = (f"({latex(arg)})" if isinstance(arg, Op) else latex(arg) for arg in args)
            return {"add": " + ", "mul": r" \cdot "}[name].join(parts)
        case Op("call", (function, *arguments)):
            return f"{latex(function)}({', '.join(map(latex, arguments))})"
        case Op(name, args) if name in _LATEX:
            return _LATEX[name].format(*map(latex, args))
    return rf"\{node.name}({', '.join(map(latex, node.args))})"


def shown(value: Value) -> str:
    """A value with its type, in one line of at most a few hundred characters."""
    text = f"{kind(value)} {said(value)}".strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def said(value: Value) -> str:  # noqa: C901  one case for each type
    """A value without its type."""
    match value:
        case Expression(Num(exact, unit), percent):
            return _number(exact, unit) + "%" * percent
        case Expression(node, percent):
            return latex(node) + "%" * percent
        case Quantity(amount, unit):
            return f"{said(amount)} [{_unit(unit)}]"
        case Clock(seconds):
            return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        case Date(month, day, year):
            return f"{year or '????'}-{month:02}-{day:02}"
        case Based(digits, base):
            return f"{digits} in base {base}"
        case Residues(values, modulus):
            return f"{', '.join(map(str, sorted(values)[:20]))} modulo {modulus}"
        case Named(name, inner):
            return f"{name if isinstance(name, str) else latex(name)} = {said(inner)}"
        case Relation(sides, signs):
            marks = [_SIGNS.get(sign, sign) for sign in signs]
            return said(sides[0]) + "".join(
                f" {m} {said(s)}" for m, s in zip(marks, sides[1:], strict=True)
            )
        case Region(pieces, name):
            return (f"{name} in " if name else "") + " ∪ ".join(map(_interval, pieces))
        case Choice(letters, text):
            return "".join(sorted(letters)) + (f": {said(text)}" if text else "")
        case Text(words):
            return repr(words)
        case Opaque(source):
            return source
    return _composite(value)


def _composite(value: Value) -> str:
    match value:
        case Several(items):
            return _items(items).join(_AROUND[type(value)])
        case Ratio(parts):
            return " : ".join(map(said, parts))
        case Matrix(rows):
            return "; ".join(map(_items, rows))
        case Cases(rows):
            return "; ".join(f"{said(one)} if {said(when)}" for one, when in rows)
    raise TypeError(f"a value of no known type: {value!r}")


def _items(items: tuple[Value, ...]) -> str:
    return ", ".join(map(said, items[:64]))


def _interval(piece: Interval) -> str:
    if piece.low == piece.high:
        return f"{{{latex(piece.low)}}}"
    opening, closing = "(["[piece.has_low], ")]"[piece.has_high]
    return f"{opening}{latex(piece.low)}, {latex(piece.high)}{closing}"


def _is_long(value: Fraction) -> bool:
    """Whether a number has more digits than Python writes out, which raises an error."""
    return max(value.numerator.bit_length(), value.denominator.bit_length()) > 2000


def _number(value: Fraction, unit: Fraction | None) -> str:
    if _is_long(value):
        return _MANY_DIGITS
    if unit is None or unit > 1 or unit.denominator.bit_length() > 200:
        return str(value)
    places = len(str(unit.denominator)) - 1
    return (
        f"{value.numerator * 10**places // value.denominator / 10**places:.{places}f}"
        if places < 15
        else str(float(value))
    )


def _unit(unit: Unit) -> str:
    names = [name if power == 1 else f"{name}^{power}" for name, power in unit.dimensions]
    return " ".join(names if unit.factor == 1 else [str(unit.factor), *names])
