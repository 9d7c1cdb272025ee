"""Realistic mistakes: wrong values as in mental arithmetic, and wrong programs."""

from __future__ import annotations

import random
import re
from typing import NamedTuple


class Spoiled(NamedTuple):
    """A program with a mistake, and its observation."""

    code: str
    observation: str
    failed: bool


def wrong_value(rng: random.Random, value: str) -> str:
    """The value with at least one other digit; its length and signs stay."""
    places = [place for place, character in enumerate(value) if character.isdigit()]
    digits = list(value)
    for place in rng.sample(places, rng.randint(1, len(places))):
        leading = place == 0 or not value[place - 1].isdigit()
        others = "123456789" if leading else "0123456789"
        digits[place] = rng.choice(others.replace(value[place], ""))
    return "".join(digits)


def spoil(rng: random.Random, code: str, value: str) -> Spoiled:
    """One mistake, mostly a missing import, or a missing `print` in programs without import.

    With evenly distributed mistakes a model makes none of them below temperature 1.
    """
    usual = _no_import if _IMPORT.match(code) else _no_print
    mistakes = (usual, _wrong_number, _no_print, _open_bracket)
    return rng.choices(mistakes, (0.7, 0.1, 0.1, 0.1))[0](rng, code, value)


_IMPORT = re.compile(r"(?:import|from) .*?(\w+)\n")


def _no_import(rng: random.Random, code: str, value: str) -> Spoiled:
    found = _IMPORT.match(code)
    assert found is not None
    error = f"NameError: name '{found[1]}' is not defined"
    return Spoiled(code[found.end() :], error, failed=True)


def _wrong_number(rng: random.Random, code: str, value: str) -> Spoiled:
    number = rng.choice(list(re.finditer(r"\d+", code)))
    spoiled = code[: number.start()] + wrong_value(rng, number[0]) + code[number.end() :]
    return Spoiled(spoiled, wrong_value(rng, value), failed=False)


def _no_print(rng: random.Random, code: str, value: str) -> Spoiled:
    before, _, printed = code.rpartition("print(")
    return Spoiled(
        f"{before}result = {printed[:-1]}", "[the program ran and printed nothing]", failed=True
    )


def _open_bracket(rng: random.Random, code: str, value: str) -> Spoiled:
    return Spoiled(code[:-1], "SyntaxError: '(' was never closed", failed=True)
