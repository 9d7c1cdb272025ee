r"""Groups equal answers for votes, by the verifier: ``84``, ``84.0`` and ``$84$`` vote together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from storage.records import Trajectory
from tirgen.verification import same_answer


def answer_keys(rows: Sequence[Trajectory]) -> list[str | None]:
    """The key of each row's final answer; None without an answer.

    Equal answers have the same key, in any order of the rows. Raises VerifierUnavailable.
    """
    keys = representatives(row.final_answer for row in rows if row.final_answer is not None)
    return [None if row.final_answer is None else keys[row.final_answer] for row in rows]


def representatives(answers: Iterable[str]) -> dict[str, str]:
    """By answer, the representative of its group: the first of the shortest.

    The verifier may find A = B and B = C, but not A = C. So an answer joins the first group whose
    representative equals it.
    """
    chosen: dict[str, str] = {}
    for answer in sorted(set(answers), key=lambda answer: (len(answer), answer)):
        standing = dict.fromkeys(chosen.values())
        chosen[answer] = next((one for one in standing if _equal(one, answer)), answer)
    return chosen


@lru_cache(maxsize=100_000)
def _equal(one: str, other: str) -> bool:
    return same_answer(one, other)
