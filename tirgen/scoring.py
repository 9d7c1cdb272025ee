"""The verifier as a reward function, in the shape that trainers of others call."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

from tirgen.verification import VerifierUnavailable, undecidable, verify

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a chat; of these only what the assistant wrote counts."""

_log = logging.getLogger(__name__)


def reward(
    completions: Sequence[Completion],
    answer: Sequence[str],
    *,
    exact_digits: int | None = None,
    **columns: Any,
) -> list[float | None]:
    r"""1.0 where the boxed answer of a completion is right, 0.0 where it is wrong or missing.

    None where that cannot be known, which TRL leaves out: the gold answer cannot be verified, or
    the verifier's process failed twice. A warning says how many and why. `answer` has the gold
    answer of each completion; `columns` are the other columns of the dataset, which trainers pass.
    From `exact_digits` significant digits on, a decimal may stand for an exact gold answer: a
    trainer gets a function of your own that sets it. None: only a float printed in full may.

    Raises ValueError where the two differ in length.

    >>> reward([r"So it is $\boxed{0.5}$.", "I do not know."], [r"\frac{1}{2}", "3"])
    [1.0, 0.0]
    """
    judged = partial(_judged, exact_digits=exact_digits)
    pairs = list(zip(completions, answer, strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        verdicts = list(threads.map(lambda pair: judged(*pair), pairs))
    if missing := Counter(verdict for verdict in verdicts if isinstance(verdict, str)):
        reasons = "; ".join(f"{n} times {why}" for why, n in missing.most_common())
        _log.warning("no reward for %d of %d: %s", missing.total(), len(verdicts), reasons)
    return [None if isinstance(verdict, str) else verdict for verdict in verdicts]


def _judged(completion: Completion, answer: str, exact_digits: int | None) -> float | str:
    """The reward, or why there is none: an unverifiable gold answer gives none to all."""
    if why := undecidable(answer):
        return f"the gold answer cannot be verified ({why})"
    try:
        verdict = verify(answer, _text(completion), exact_digits=exact_digits)
    except VerifierUnavailable as error:
        return f"the verifier failed ({error})"
    return float(verdict.correct) if verdict.is_decided else verdict.reason


def _text(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion
    written = (one for one in completion if one["role"] == "assistant")
    return "\n\n".join(_content(message.get("content")) for message in written)


def _content(content: Any) -> str:
    """The text of a message, which may be a list of parts, or nothing beside a tool call."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
