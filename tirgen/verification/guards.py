"""What is never handed to a parser: answers that deceive the eye or would burn the machine.

A cheap first line; the hard limits of the worker processes stand behind it.
"""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 1000
"""Characters; the longest answer of the benchmarks has 300."""
MAX_DEPTH = 24
MAX_EXPONENT = 10_000
MAX_FACTORIAL = 1_000
MAX_DIGITS = 200
"""Of one number."""

_ALLOWED_SCRIPTS = ("LATIN", "GREEK", "MICRO", "OHM", "ANGSTROM")
_DECEPTIVE = re.compile(
    r"\\(?:boxed|fbox|[xbv]?cancel(?:to)?|sout|st|[hv]?phantom|iffalse|def|newcommand|renewcommand|let|input"
    r"|include|href|url|write|read|catcode|csname|rlap|llap|smash|raisebox|tiny|hide)(?![a-zA-Z])"
    r"|\\color\{white\}|\\textcolor\{white\}"
)
_CODE = re.compile(
    r"__|`|(?<!\\)\b(?:import|lambda|exec|eval|print|open|return|def|while|getattr|globals|compile|os|sys"
    r"|subprocess|int|str|float|input|range|chr|assert)\s*(?:\(|\.|\s+\w+\s*[:(=])|<script|;\s*\w+\s*\("
    r"|==|\bimport\b|(?<!\\)\blambda\b",
    re.IGNORECASE,
)
_POWER = re.compile(r"(?:\^|\*\*)\s*(?:\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}|\(([^()]*)\)|(-?\d+))")
_SMALL_POWER = re.compile(r"\{ ?(\d{1,3}) ?\^ ?\{ ?(\d{1,2}) ?\} ?\}")
_NUMBER = re.compile(r"\d+")
_FACTORIAL_OF_POWER = re.compile(r"\d\s*\^\s*\{?\s*\d+\s*\}?\s*(?:[)}]\s*)+!")
_ARGUMENT = r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
_BINOMIAL = re.compile(rf"\\[dt]?binom{_ARGUMENT}{_ARGUMENT}")
_FACTORIAL = re.compile(r"(\d+)\s*(?:[)}]\s*)*!")


def too_long(raw: str) -> str | None:
    """Why an answer is not even normalised, or None."""
    return f"{len(raw)} characters, more than {MAX_LENGTH}" if len(raw) > MAX_LENGTH else None


def deceptive(raw: str) -> str | None:
    """Why an answer as written does not say what it seems to, or None."""
    if match := _DECEPTIVE.search(raw):
        return f"{match[0]} hides or redefines what is shown"
    if match := _CODE.search(raw):
        return f"program code in the answer: {match[0]!r}"
    return _foreign(raw)


def _foreign(raw: str) -> str | None:
    """Letters and digits of other scripts, marks and direction controls: look-alikes."""
    for char in raw + unicodedata.normalize("NFKC", raw):
        if char.isascii():
            continue
        category = unicodedata.category(char)
        name = unicodedata.name(char, "unnamed character")
        foreign_letter = category[0] == "L" and not name.startswith(_ALLOWED_SCRIPTS)
        if (
            foreign_letter
            or _is_enclosed(char)
            or category in ("Nd", "Mn", "Me", "Co", "Cn")
            or _is_control(char)
        ):
            return f"{name.lower()} (U+{ord(char):04X}) in the answer"
    return None


def _is_enclosed(char: str) -> bool:
    """Circled digits, digits with a full stop and the like, whose neighbours are not one number."""
    if unicodedata.name(char, "").startswith(("DIGIT", "NUMBER")):
        return True
    return unicodedata.decomposition(char).startswith(("<circle>", "<square>", "<compat> 0028"))


def _is_control(char: str) -> bool:
    return unicodedata.category(char) == "Cf" and char not in "\u200b\u200c\u200d\u2060\ufeff\u00ad"


def unread(text: str, gold: str) -> str | None:
    """Symbols of a normalised answer that parsers pass over, unless the gold answer has them."""
    for char in text:
        if unicodedata.category(char)[0] == "S" and not char.isascii() and char not in gold:
            return f"{unicodedata.name(char, char).lower()} (U+{ord(char):04X}) is not understood"
    return None


def dangerous(text: str) -> str | None:
    """Why parsing a normalised answer could burn the machine, or None."""
    if _depth(text) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels"
    if any(len(number) > MAX_DIGITS for number in _NUMBER.findall(text)):
        return f"a number of more than {MAX_DIGITS} digits"
    if any(int(number) > MAX_FACTORIAL for number in _FACTORIAL.findall(text)):
        return f"factorial of more than {MAX_FACTORIAL}"
    if _FACTORIAL_OF_POWER.search(text):
        return "factorial of a power"
    if any(_is_large(of) and _is_large(out) for of, out in _BINOMIAL.findall(text)):
        return f"binomial of more than {MAX_EXPONENT}"
    if re.search(r"!\s*(?:[)}]\s*)+!|!\s*!\s*!", text):
        return "factorial of a factorial"
    return _dangerous_power(text)


def _is_large(text: str) -> bool:
    """A power, or a number that is no small one."""
    numbers = _NUMBER.findall(text)
    return bool(re.search(r"\d\s*\^", text)) or any(int(n) > MAX_EXPONENT for n in numbers)


def _dangerous_power(text: str) -> str | None:
    text = _SMALL_POWER.sub(_small_power, text)
    for match in _POWER.finditer(text):
        exponent = next(group for group in match.groups() if group is not None)
        if "!" in exponent and _NUMBER.search(exponent):
            return "factorial in an exponent"
        if re.search(r"\d", exponent) and re.search(r"\d[\s)}]*\^(?! ?\{ ?[a-z] ?\})", exponent):
            return "tower of powers"
        if any(int(number) > MAX_EXPONENT for number in _NUMBER.findall(exponent)):
            return f"exponent above {MAX_EXPONENT}"
    if re.search(r"\d\s*(?:\^\s*\{?\(?\s*\d+\s*\)?\}?\s*){2,}", text):
        return "tower of powers"
    return None


def _small_power(match: re.Match[str]) -> str:
    r"""``{2^{3}}`` as ``{8}``: a tower whose upper storeys are small is none."""
    value = int(match[1]) ** int(match[2])
    return f"{{{value}}}" if value <= MAX_EXPONENT else match[0]


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return deepest
