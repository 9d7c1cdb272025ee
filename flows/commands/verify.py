"""``tirgen verify``: compare one answer with a gold answer, and show how both were read."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table

from flows.commands.options import Digits, Json
from flows.terminal.console import print_json, show
from storage.text import safe_text
from tirgen.verification import verify


def verify_command(
    gold: str, answer: str, /, *, exact_digits: Digits | None = None, json: Json = False
) -> None:
    """Say whether an answer is right, what both were read as, and by which rule.

    Give the content of the box, or a whole response with its box.

    Examples of use:

        tirgen verify '\\frac{1}{2}' 0.5

        tirgen verify '30.52' '\\dfrac{1587}{52}' --json

        tirgen verify '2/3' 0.666667 --exact-digits 6

    Parameters
    ----------
    gold
        The gold answer.
    answer
        The answer, or a response that contains it.
    exact_digits
        Significant digits from which on a decimal may stand for an exact gold answer; by default
        only a float printed in full may.
    """
    response = answer if "\\boxed" in answer else f"\\boxed{{{answer}}}"
    verdict = verify(gold, response, exact_digits=exact_digits)
    if json:
        print_json({**asdict(verdict), "is_decided": verdict.is_decided})
        return
    said = "right" if verdict.correct else "wrong" if verdict.is_decided else "undecidable"
    table = Table(show_header=False, box=None)
    rows = {"verdict": said, "rule": verdict.method, "gold": verdict.gold_value,
            "answer": verdict.answer_value, "reason": verdict.reason}  # fmt: skip
    for name, text in rows.items():
        if text:
            table.add_row(name, safe_text(text, ""))
    show(table)
