"""The paper's ablation on the pocket: what each part of the method adds; writes docs/ablation.md.

The first policy is a pocket whose programs often fail (`benchmarks/_headroom.py`). Two seeds at a
time, each in a process, into `test-output/ablation`: an interrupted run continues, and SQL sees
every sample of every stage. Remove the folder to start again. The pocket proves the machinery, not
the science.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import Result, narrate
from benchmarks._ablation_page import page
from benchmarks._compare import (
    EXPECTATIONS,
    Samples,
    by_failure,
    compare,
    power,
    rounds,
    sentence,
    stage_row,
    tool_statistic,
)
from benchmarks._headroom import HELD_OUT, Headroom, family_of, prepare
from benchmarks._stages import SeedFailed, climb
from flows.terminal.plots import Marks, marks_plot
from storage.datasets import Store
from tirgen.evaluation.estimates import Estimate

CLAIM = (
    "On 162 problems, a third of them of families in no training, and eight seeds, in under 60 "
    "minutes: trajectory-level RL adds accuracy to TIR after a cold start; step-level RL adds "
    "programs that run and accuracy to as many rounds without it; self-correction adds accuracy"
)
SEEDS = tuple(range(8))
SIDE_BY_SIDE = 2
"""Seeds at once, each on a core."""
MINUTES = 60
EXPLORED, PROBLEMS = 162, 162
"""Problems that settings were chosen on, and the number evaluated after them; multiples of 54 have
every family and level equally often."""
QUICK = {
    "cold_start.problems.limit": 40,
    "evaluation.benchmarks.0.limit": 24,
    "evaluation.samples": 2,
    "samples": {},
    "rl.rounds": 1,
    "rl.rollouts.groups": 6,
    "step_rl.rounds": 1,
    "step_rl.rollouts.groups": 6,
    "step_rl.rollouts.branches.groups": 4,
    "cot_rl.rounds": 1,
    "cot_rl.rollouts.groups": 4,
}
BY_FAILURE = ("T3", "T4", "T4+", "T5", "T6")
ROUNDS = ("cot", "episode", "control", "step")
QUICK_TOKENS = 30_000
"""Of the corpus of the quick run's model, which learns little from them."""
ROOT = Path(__file__).parents[1]
RECIPE = Path(__file__).with_name("ablation.toml")
STORE = ROOT / "test-output" / "ablation"
HEADROOM = ROOT / "test-output" / "headroom"
RESULTS, PAGE = ROOT / "docs" / "results" / "ablation.json", ROOT / "docs" / "ablation.md"
PLOT = ROOT / "docs" / "images" / "ablation.svg"


def run(quick: bool) -> Result:
    if not quick:
        return _run(STORE, SEEDS, prepare(HEADROOM), {}, keep=True)
    with tempfile.TemporaryDirectory() as folder:
        parent = prepare(Path(folder) / "headroom", tokens=QUICK_TOKENS)
        return _run(Path(folder) / "store", SEEDS[:1], parent, QUICK, keep=False)


def _run(
    root: Path, seeds: Sequence[int], parent: Headroom, changes: Mapping[str, Any], *, keep: bool
) -> Result:
    resumed = root.exists() and any(root.iterdir())
    started, used = time.monotonic(), _cpu_seconds()
    try:
        found = asyncio.run(_all_seeds(root, seeds, {**settings(parent), **changes}))
    except SeedFailed as error:
        raise SystemExit(str(error)) from None
    minutes = (time.monotonic() - started) / 60
    document = {
        "date": date.today().isoformat(),
        "minutes": round(minutes, 1),
        "cpu_minutes": round((_cpu_seconds() - used) / 60, 1),
        "machine": f"{os.cpu_count()} cores",
        "resumed": resumed,
        "note": "",
        "planted": parent.planted,
        **figures(Store(root), found),
    }
    if keep:
        RESULTS.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        _plot(document["stages"])
        PAGE.write_text(page(document), "utf-8")
        narrate(f"wrote {RESULTS}, {PAGE} and {PLOT}")
    accuracy = {row["stage"]: row["accuracy"] for row in document["stages"]}
    return Result(
        ours={f"{stage}_accuracy": round(value, 4) for stage, value in accuracy.items()}
        | {"minutes": document["minutes"], "problems": document["problems"]},
        peers={},
        reached=all(each["clear"] for each in document["expectations"] if each["later"] != "T2")
        and minutes < MINUTES,
        note="; ".join(map(sentence, document["expectations"])),
    )


def settings(parent: Headroom) -> dict[str, Any]:
    """What the recipe leaves open: the parent and the problems, by dotted names."""
    model, learned = str(parent.model), {"path": str(parent.learned)}
    evaluated = {"path": str(parent.evaluated), "skip": EXPLORED, "limit": PROBLEMS}
    return {
        "parent": model,
        "cold_start.actor": {"model": model},
        "cold_start.critic": {"model": model},
        "cold_start.problems": {**learned, "limit": 128},
        "rl.rollouts.problems": learned,
        "step_rl.rollouts.problems": learned,
        "cot_rl.rollouts.problems": learned,
        "evaluation.benchmarks": [evaluated],
    }


def figures(store: Store, found: Mapping[int, Mapping[str, str]]) -> dict[str, Any]:
    """Everything that is computed from the samples and the rounds."""
    samples = Samples(store, found)
    expected = [compare(samples, each) for each in EXPECTATIONS]
    [between] = (e for e in expected if (e["earlier"], e["figure"]) == ("T4+", "accuracy"))
    families = {
        "learned": lambda name: family_of(name) not in HELD_OUT,
        "held_out": lambda name: family_of(name) in HELD_OUT,
    }
    return {
        "seeds": len(found),
        "problems": len(samples.problems),
        "stages": [stage_row(samples, stage) for stage in samples.stages],
        "families": {
            name: [stage_row(samples, stage, among) for stage in samples.stages]
            for name, among in families.items()
        },
        "expectations": expected,
        "power": power(between),
        "by_failure": {stage: by_failure(samples, stage) for stage in BY_FAILURE},
        "rounds": {name: rounds(store, name, found) for name in ROUNDS},
        "tool_statistic": tool_statistic(store, found),
    }


async def _all_seeds(
    root: Path, seeds: Sequence[int], changes: Mapping[str, Any]
) -> dict[int, dict[str, str]]:
    """The evaluated versions by seed and stage."""
    places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(seed: int) -> dict[str, str]:
        async with places:
            return await climb(seed, root, RECIPE, changes)

    return dict(zip(seeds, await asyncio.gather(*map(one, seeds)), strict=True))


def _cpu_seconds() -> float:
    """CPU seconds of this process and of all children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _plot(rows: Sequence[Mapping[str, Any]]) -> None:
    def estimates(name: str) -> dict[str, Estimate | None]:
        return {
            row["stage"]: row[name]
            and Estimate(value=row[name], low=row[f"{name}_low"], high=row[f"{name}_high"])
            for row in rows
        }

    titles = {"accuracy": "accuracy", "execution_pass": "programs that ran"}
    panels = [Marks(title=title, values=estimates(name)) for name, title in titles.items()]
    marks_plot(panels).save(PLOT)
