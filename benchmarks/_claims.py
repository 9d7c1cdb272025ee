"""Claims in recorded reasoning, `<<expression=value>>`: their Python code, and corrected text.

Where a program printed another value than was claimed, the recorded model would have continued from
the output. So every later number that equals the claim is replaced by the output. A number that the
question gives stays, since it may mean the given one. The last line, which states the answer, is
always corrected.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import NamedTuple

NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+")
_SHOWN = re.compile(f"-?(?:{NUMBER.pattern})")
CLAIM = re.compile(r"<<(?P<expression>[^<>]*)=(?P<value>[^<>=]*)>>")
ANSWER = re.compile(r"A:\s*(.*)|The answer is \\boxed\{.*\}\.")
_ARITHMETIC = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop)


class Told(NamedTuple):
    """A step with its claims replaced by the outputs of the programs so far."""

    text: str
    """The step with outputs in place of claims; complete only if nothing is left to compute."""
    next_expression: str | None
    """What must be computed next; None where nothing is left."""
    used: int
    """How many outputs were used."""


class Corrections:
    """Recorded numbers that are replaced because a program printed another value."""

    def __init__(self, given: str = "") -> None:
        self._given = set(numbers_in(given))
        self._now: dict[float, str] = {}
        self._results: dict[float, str] = {}
        """The same for numbers that can only be results."""

    def learn(self, claim: str, output: str) -> str:
        """Remember the value that was printed for a claim; returns the text that replaces the
        claim."""
        claimed, actual = as_number(claim), as_number(output)
        if claimed is None or actual is None:
            return output.strip()
        if is_rounding(claim, actual):
            self._now.pop(claimed, None)
            self._results.pop(claimed, None)
            return claim.strip()
        said = self._results[claimed] = f"{actual:.10g}"
        if claimed not in self._given:
            self._now[claimed] = said
        return said

    def apply(self, text: str) -> str:
        """The text with the corrected numbers; claims keep the value the recorded model claimed."""
        if ANSWER.fullmatch(text):
            return NUMBER.sub(lambda n: self._results.get(value_of(n[0]), n[0]), text)
        parts, position = [], 0
        for claim in CLAIM.finditer(text):
            parts.append(self._plain(text[position : claim.start("value")]))
            position = claim.end() + len(shown_after(text, claim))
            parts.append(text[claim.start("value") : position])
        return "".join([*parts, self._plain(text[position:])])

    def _plain(self, text: str) -> str:
        return NUMBER.sub(lambda found: self._now.get(value_of(found[0]), found[0]), text)


def retell(step: str, outputs: Sequence[str]) -> Told:
    """The step with its claims replaced by the outputs, for as many outputs as there are.

    A step without a claim is unchanged.
    """
    corrections, parts, position, used = Corrections(), list[str](), 0, 0
    for claim in CLAIM.finditer(step):
        parts.append(corrections.apply(step[position : claim.start()]))
        shown = shown_after(step, claim)
        position = claim.end() + len(shown)
        expression = python_of(corrections.apply(claim["expression"]))
        if expression is None:
            parts.append(shown)
            continue
        if used == len(outputs):
            return Told("".join(parts), expression, used)
        said = corrections.learn(claim["value"], outputs[used])
        parts.append(shown if shown and value_of(shown) == as_number(said) else said)
        used += 1
    parts.append(corrections.apply(step[position:]))
    return Told("".join(parts) if used else step, None, used)


def python_of(expression: str) -> str | None:
    """The claimed expression as Python; None unless it is plain arithmetic on numbers."""
    text = NUMBER.sub(lambda found: found[0].replace(",", ""), expression.strip())
    text = re.sub(r"(\d+(?:\.\d+)?)%", r"(\1/100)", text)
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except SyntaxError:
        return None
    arithmetic = all(isinstance(node, _ARITHMETIC) for node in nodes)
    computes = any(isinstance(node, ast.BinOp) for node in nodes)
    return text if arithmetic and computes else None


def computed(claim: re.Match[str]) -> float | None:
    """The value of the claimed expression; None where it is no arithmetic."""
    python = python_of(claim["expression"])
    if python is None:
        return None
    try:
        return float(eval(compile(ast.parse(python, mode="eval"), "claim", "eval"), {}))
    except (ArithmeticError, ValueError):
        return None


def is_rounding(claim: str, actual: float | None) -> bool:
    """Whether the claimed value is the computed one, to the decimals that it shows; integers
    exactly."""
    claimed = as_number(claim)
    if claimed is None or actual is None:
        return False
    decimals = len(claim.strip().partition(".")[2])
    slack = 0.5 * 10**-decimals if decimals else 0.0
    return abs(claimed - actual) <= slack + 1e-9 * max(1.0, abs(actual))


def shown_after(text: str, claim: re.Match[str]) -> str:
    """The number right after a claim that repeats its value, as `18` in `$<<9*2=18>>18 a day`."""
    shown = _SHOWN.match(text, claim.end())
    return shown[0] if shown else ""


def numbers_in(text: str) -> list[float]:
    return [value_of(found) for found in NUMBER.findall(text)]


def as_number(text: str) -> float | None:
    try:
        return float(text.replace(",", "").strip())
    except ValueError:
        return None


def value_of(number: str) -> float:
    return float(number.replace(",", ""))
