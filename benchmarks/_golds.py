"""Judged without a model: published gold answers, and answers with a published verdict."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.records import Verdict
from tirgen.verification import Verifier, extract_answer

GOLDS: Mapping[str, Callable[[Any], str]] = {
    "gsm8k_test": lambda row: row["answer"].rpartition("####")[2].strip(),
    "gsm_hard_test": lambda row: str(row["target"]),
    "math_test": lambda row: extract_answer(row["solution"]) or "",
    "aime24": lambda row: row["answer"],
    "amc23": lambda row: str(row["answer"]),
    "minerva_math": lambda row: extract_answer(row["solution"]) or "",
    "olympiadbench": lambda row: ", ".join(row["final_answer"]),
}
"""The gold answer's field, by benchmark file."""


def golds(data: Path, name: str) -> list[str]:
    """The gold answers of one benchmark, in the file's order."""
    return [GOLDS[name](row) for row in _rows(data / "problems" / f"{name}.jsonl")]


async def judged(verifier: Verifier, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
    """Verdicts on (gold, final answer)."""
    boxed = (verifier.verify(gold, rf"\boxed{{{answer}}}") for gold, answer in pairs)
    return await asyncio.gather(*boxed)


def shuffled(answers: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """Each gold answer with that of another row."""
    others = list(answers)
    random.Random(seed).shuffle(others)
    return list(zip(answers, others, strict=True))


def spelled_alike(gold: str, answer: str) -> bool:
    """Equal as text, apart from spaces, dollar signs, `\\left`, `\\right` and `\\dfrac`."""
    first, second = (re.sub(r"[\s$.]|\\left|\\right", "", text) for text in (gold, answer))
    return first.replace("\\dfrac", "\\frac") == second.replace("\\dfrac", "\\frac")


_NAME = re.compile(r"^[a-zA-Z]\s*=")
_FUNCTION = re.compile(r"^[a-zA-Z]\([a-z]\)\s*=")


def same_number(gold: str, answer: str) -> bool:
    """``b=0`` and ``0``, ``+2.`` and ``2``, by a rule that shares nothing with the verifier.

    The value of a constant function may be given for it, but not the function for a number.
    """
    try:
        first = float(_FUNCTION.sub("", _bare(gold)))
        return abs(first - float(_bare(answer))) < 1e-6
    except ValueError:
        return False


def _bare(text: str) -> str:
    return _NAME.sub("", text.strip("$. ")).replace(",", "")


async def gold_figures(data: Path, seed: int) -> tuple[dict[str, int], list[str]]:
    """Counts over all benchmark files, and the shuffled pairs to explain."""
    counts = dict.fromkeys(("answers", "unlike_themselves", "unverifiable", "shuffled_right"), 0)
    curious: list[str] = []
    async with Verifier() as verifier:
        for name in GOLDS:
            answers = golds(data, name)
            own = await judged(verifier, [(gold, gold) for gold in answers])
            pairs = shuffled(answers, seed)
            verdicts = await judged(verifier, pairs)
            counts["answers"] += len(answers)
            counts["unlike_themselves"] += sum(not verdict.correct for verdict in own)
            counts["unverifiable"] += sum(not verdict.is_decided for verdict in verdicts)
            right = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.correct]
            counts["shuffled_right"] += len(right)
            curious += [f"{name}: {a} | {b}" for a, b in right if not spelled_alike(a, b)]
    return counts, curious


async def solution_figures(data: Path) -> dict[str, int]:
    """The verdict on every recorded GSM8K solution, with its publisher's."""
    asked = [
        (row["ground_truth"].rpartition("A:")[2].strip(), told["solution"], told["is_correct"])
        for row in _rows(data / "recorded" / "gsm8k_model_solutions.jsonl")
        for told in row.values()
        if isinstance(told, dict)
    ]
    async with Verifier(require_box=False) as verifier:
        verdicts = await asyncio.gather(*(verifier.verify(gold, text) for gold, text, _ in asked))
    otherwise = sum(
        verdict.correct != told for verdict, (_, _, told) in zip(verdicts, asked, strict=True)
    )
    return {"solutions": len(asked), "solutions_judged_otherwise": otherwise}


def _rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
