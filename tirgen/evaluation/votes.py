r"""Groups equal answers for votes, by the verifier: ``84``, ``84.0`` and ``$84$`` vote together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from storage.records import Trajectory
from tirgen.verification import same_answer


def answer_keys(rows: Sequence[Trajectory], exact_digits: int | None = None) -> list[str | None]:
    """The key of each row's final answer; None without an answer.

    Equal answers have the same key, in any order of the rows. `exact_digits` is that of `Verifier`.
    Raises VerifierUnavailable.
    """
    answers = (row.final_answer for row in rows if row.final_answer is not None)
    keys = representatives(answers, exact_digits)
    return [None if row.final_answer is None else keys[row.final_answer] for row in rows]


def representatives(answers: Iterable[str], exact_digits: int | None = None) -> dict[str, str]:
    """By answer, the representative of its group: the first of the shortest.

    The verifier may find A = B and B = C, but not A = C. So an answer joins the first group whose
    representative equals it.
    """
    chosen: dict[str, str] = {}
    for answer in sorted(set(answers), key=lambda answer: (len(answer), answer)):
        standing = dict.fromkeys(chosen.values())
        equal = (one for one in standing if _equal(one, answer, exact_digits))
        chosen[answer] = next(equal, answer)
    return chosen


@lru_cache(maxsize=100_000)
def _equal(one: str, other: str, exact_digits: int | None) -> bool:
    return same_answer(one, other, exact_digits)
