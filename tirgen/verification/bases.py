r"""Numbers with a base: ``101_2``, ``2B_{16}``, ``1011 \text{ (base 2)}``."""

from __future__ import annotations

import re

from storage.records import Verdict
from tirgen.verification.verdicts import decided

_BASE = re.compile(
    r"(?:\(|\\text\{)?((?:[0-9A-Fa-f]+,)*[0-9A-Fa-f]+)[)}]?"
    r"(?: ?_ ?\{ ?([a-z0-9]+) ?\}| ?(?:\\text\{)? ?\(?(?:in )?base ?\}? ?(\w+) ?\)?\}?)?"
)
_BASES = dict(
    two=2, three=3, four=4, five=5, six=6, seven=7, eight=8, nine=9, ten=10, twelve=12, sixteen=16
)


def compare_bases(gold: str, answer: str) -> Verdict | None:
    """The verdict where at least one side names a base, else None.

    A number without one matches the digits of a gold answer with one, never the other way round.
    """
    asked, given = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if asked is None or given is None:
        return None
    gold_base, base = asked[2] or asked[3], given[2] or given[3]
    if gold_base is None and base is None:
        return None
    if base is None:
        if _in_base(asked[1], gold_base) is None:
            return None
        same = asked[1].replace(",", "").lower() == given[1].replace(",", "").lower()
    else:
        first, second = _in_base(asked[1], gold_base or "10"), _in_base(given[1], base)
        same = first is not None and first == second
    return decided(same, "base", gold, answer)


def _in_base(digits: str, base: str) -> int | None:
    """The number, or None if these are no digits of that base; one letter is a variable."""
    digits = digits.replace(",", "")
    if digits.isalpha() and len(digits) == 1:
        return None
    radix = _BASES.get(base) or (int(base) if base.isdigit() else 0)
    try:
        return int(digits, radix) if 2 <= radix <= 36 else None
    except ValueError:
        return None
