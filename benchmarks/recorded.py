"""Recorded text of real models through tirgen's parser, sandbox, loop and verifier.

See docs/recorded.md. Needs the recordings in `../shared/data`, or in the folder TIRGEN_SHARED; they
cannot be shipped.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import Result, narrate
from benchmarks._golds import gold_figures, solution_figures
from benchmarks._gsm8k import (
    MODELS,
    Recording,
    judged_otherwise,
    play,
    recordings,
    summary,
    with_slips,
)
from benchmarks._tora import ProgramComparison, Rerun, read, rerun
from storage.records import Problem
from tirgen.data.load import load_problems
from tirgen.sandbox.contract import Sandbox
from tirgen.sandbox.local import LocalSandbox
from tirgen.verification import Verifier

CLAIM = (
    "The sandbox prints what at least 99 % of ToRA's recorded programs printed, and TIRGen over "
    "recorded GSM8K reasoning rights at least 90 % of the answers that one arithmetic slip spoilt; "
    "verdicts agree with the publisher's on 99.5 % of the recorded solutions, every gold answer is "
    "right against itself, and no other row's is unless it is the same"
)
PROBLEMS, QUICK_PROBLEMS = 300, 20
SEED = 0
AS_RECORDED, EVERY_SLIP, ONE_SLIP = "as_recorded", "every_slip", "one_slip"


def shared_data() -> Path:
    """The folder of recordings; it may not exist."""
    beside = Path(__file__).parents[2] / "shared"
    return Path(os.environ.get("TIRGEN_SHARED", beside)) / "data"


def run(quick: bool) -> Result:
    if not shared_data().is_dir():
        raise SystemExit(f"the recordings are not in {shared_data()}; set TIRGEN_SHARED")
    tora, replay = asyncio.run(_measure(QUICK_PROBLEMS if quick else None))
    narrate("recorded verdicts and gold answers")
    solutions = asyncio.run(solution_figures(shared_data()))
    gold, curious = asyncio.run(gold_figures(shared_data(), SEED))
    slips = replay[ONE_SLIP]
    spoilt = slips["trajectories"] - slips["right_without_tools"]
    ours = {f"tora_{name}": figure for name, figure in tora.items()} | solutions
    ours |= {f"gold_{name}": count for name, count in gold.items()}
    ours["gold_shuffled_right_but_spelled_otherwise"] = len(curious)
    judged = solutions["solutions_judged_otherwise"] <= 0.005 * solutions["solutions"]
    for name, counts in replay.items():
        ours |= {f"{name}_{figure}": count for figure, count in counts.items()}
    same = (tora["same_output"] + tora["same_error"]) / tora["programs"]
    return Result(
        ours=ours,
        peers={},
        reached=same >= 0.99
        and slips["wrong_then_right"] >= 0.9 * spoilt
        and judged
        and gold["unlike_themselves"] == 0,
        note=(
            "as_recorded: the first problems, four models each. every_slip: all recorded "
            "solutions of the four models that claim a wrong value. one_slip: the right ones "
            "among as_recorded, each with one claim spoilt by us and carried on. Shuffled gold "
            f"answers called right that are not spelled alike: {'; '.join(curious) or 'none'}."
        ),
    )


async def _measure(count: int | None) -> tuple[Mapping[str, int], dict[str, Mapping[str, int]]]:
    problems = load_problems(str(shared_data() / "problems" / "gsm8k_test.jsonl")).problems
    async with LocalSandbox() as sandbox, Verifier() as verifier:
        narrate(f"sandbox {sandbox.mode}")
        recorded = read(shared_data() / "recorded" / "tora_code_34b_gsm8k.jsonl")
        reruns = await rerun(recorded[:count], sandbox, verifier)
        return _counts(reruns), await _replays(problems, count, sandbox, verifier)


def _counts(reruns: Sequence[Rerun]) -> Mapping[str, int]:
    compared = Counter(comparison for rerun in reruns for comparison in rerun.comparisons)
    return {
        "trajectories": len(reruns),
        "programs": compared.total(),
        **{kind.value: compared[kind] for kind in ProgramComparison},
        "right_there": sum(rerun.was_right for rerun in reruns),
        "right_here": sum(rerun.verdict.correct for rerun in reruns),
        "verdicts_that_differ": sum(r.was_right != r.verdict.correct for r in reruns),
    }


async def _replays(
    problems: Sequence[Problem], count: int | None, sandbox: Sandbox, verifier: Verifier
) -> dict[str, Mapping[str, int]]:
    path = shared_data() / "recorded" / "gsm8k_model_solutions.jsonl"
    totals: dict[str, Counter[str]] = {}

    async def add(name: str, model: str, played: list[Recording]) -> None:
        pairs = await play(played, model, sandbox, verifier)
        counts = dict(summary(pairs))
        if name == AS_RECORDED:
            counts["judged_otherwise"] = judged_otherwise(pairs)
        totals.setdefault(name, Counter()).update(counts)
        narrate(f"{model}, {name}: {counts}")

    for model in MODELS:
        everything = recordings(path, problems, model)
        first = everything[: count or PROBLEMS]
        await add(AS_RECORDED, model, first)
        await add(EVERY_SLIP, model, [r for r in everything[: count and 100] if r.slips])
        await add(ONE_SLIP, model, with_slips(first, SEED))
    return {name: dict(counts) for name, counts in totals.items()}
