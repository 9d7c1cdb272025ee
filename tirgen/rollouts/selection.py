"""Which failed steps are branched when there are more than a round may hold (spec §5.2, A18)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from tirgen.tir.branch import FailedStep


def choose(failed: Iterable[FailedStep], most: int, seed: int) -> list[FailedStep]:
    """At most `most` steps, drawn uniformly without replacement: one a problem first, then more.

    Does not depend on the order of `failed`.
    """
    rng = random.Random(f"{seed}/branches")
    by_problem: defaultdict[str, list[FailedStep]] = defaultdict(list)
    for step in sorted(failed, key=lambda step: (step.problem.problem_id, step.attempt, step.step)):
        by_problem[step.problem.problem_id].append(step)
    firsts: list[FailedStep] = []
    others: list[FailedStep] = []
    for steps in by_problem.values():
        first, *rest = rng.sample(steps, len(steps))
        firsts.append(first)
        others += rest
    rng.shuffle(firsts)
    rng.shuffle(others)
    return (firsts + others)[:most]
