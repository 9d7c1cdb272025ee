"""Names and signs that the grammar knows, and one name for each way to write them.

The tables are in `symbols.toml`.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tables(name: str) -> dict[str, Any]:
    """The tables of a file beside this one."""
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text("utf-8"))


def inverted(table: Mapping[str, str]) -> dict[str, str]:
    """What each word of a table stands for."""
    return {word: name for name, words in table.items() for word in words.split()}


def _set(name: str) -> frozenset[str]:
    return frozenset(_TABLES[name].split())


_TABLES = tables("symbols")
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ", "0123456789+-()n", strict=True))
VULGAR = {
    char: "\\frac{" + unicodedata.normalize("NFKC", char).replace("⁄", "}{") + "}"
    for char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
CIRCLED = {chr(0x2460 + k): str(k + 1) for k in range(20)}
CIRCLED |= {chr(0x24B6 + k): chr(ord("A") + k) for k in range(26)}

_LETTERS = {
    chr(code): unicodedata.name(chr(code)).rpartition(" ")[2].lower().replace("lamda", "lambda")
    for code in range(0x03B1, 0x03CA)
    if code not in (0x03BF, 0x03C2)
}
_LETTERS |= {
    char.upper(): name.capitalize() for char, name in _LETTERS.items() if char in "γδθλξπσφψω"
}
GREEK = {*_LETTERS.values(), "ell", "hbar", "Upsilon"}
UNICODE = {char: f"\\{name} " for char, name in _LETTERS.items()}
UNICODE |= inverted(_TABLES["unicode"])

ALIASES = inverted(_TABLES["commands"])
SPACES = frozenset({",", "!", ";", ":", ">", " ", "\n", "/"})
TEXTS, FONTS, DROPPED = _set("texts"), _set("fonts"), _set("dropped")
ARRAYS = inverted(_TABLES["environments"])
COPULAS_AFTER = "是为は"
"""What Chinese and Japanese write for "is", without a space before it."""
NEGATIONS = frozenset("不非没無无ない")
CONJUNCTIONS = inverted(_TABLES["conjunctions"])
FUNCTIONS = inverted(_TABLES["functions"])
CALLED = inverted(_TABLES["called"])
COLLECTED, DECORATED, BEYOND = _set("collected"), _set("decorated"), _set("beyond")
PYTHON = inverted(_TABLES["constants"])
APPLIED, NAMING = _set("applied"), _set("naming")
NUMBER_SETS = inverted(_TABLES["sets"])
LIBRARY = BEYOND | DECORATED | GREEK | _set("library") | {*FUNCTIONS, *NUMBER_SETS}
PRIMARY = BEYOND | DECORATED | GREEK | _set("primary") | {*FUNCTIONS, *CALLED}
PRIMARY |= {"begin matrix", "begin determinant"}
"""Commands with which a factor begins."""
BARE_COMMANDS = GREEK | _set("bare")
COMMANDS = LIBRARY | PRIMARY | DROPPED | TEXTS | FONTS | BARE_COMMANDS
COMMANDS |= {*ALIASES, *ALIASES.values(), *FUNCTIONS, *CALLED}
SIGNS = inverted(_TABLES["relations"])
"""Relations by how they are compared."""
