"""The paper's ablation on the pocket: what each part of the method adds; writes docs/ablation.md.

The seeds run side by side, each in a process, into `test-output/ablation`: an interrupted run
continues, and SQL sees every sample of every stage. Remove the folder to start again. The pocket
proves the machinery, not the science.
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
from benchmarks._compare import EXPECTATIONS, Samples, compare, stage_row, tool_statistic
from benchmarks._stages import SeedFailed, climb
from flows.terminal.plots import Marks, marks_plot
from storage.datasets import Store
from tirgen.evaluation.estimates import Estimate

CLAIM = (
    "On at least 500 held-out problems and three seeds, in under 40 minutes: TIR after a cold "
    "start is right on 40 to 80 %, far above chain of thought; trajectory-level RL adds accuracy, "
    "step-level RL programs that run at no loss of accuracy, self-correction accuracy again"
)
SEEDS = (0, 1, 2)
MINUTES = 40
QUICK = {
    "cold_start.problems.limit": 40,
    "evaluation.benchmarks": [{"path": "pocket:test", "limit": 24}],
    "evaluation.samples": 2,
    "best_of": 2,
    "rl.rounds": 1,
    "rl.rollouts.groups": 6,
    "step_rl.rounds": 1,
    "step_rl.rollouts.groups": 6,
    "cot_rl.rounds": 1,
    "cot_rl.rollouts.groups": 4,
}
NOTE = "Settings are those of that day."
"""Edited in the JSON where a measurement is older than a default."""
ROOT = Path(__file__).parents[1]
RECIPE = Path(__file__).with_name("ablation.toml")
STORE = ROOT / "test-output" / "ablation"
RESULTS, PAGE = ROOT / "docs" / "results" / "ablation.json", ROOT / "docs" / "ablation.md"
PLOT = ROOT / "docs" / "images" / "ablation.svg"


def run(quick: bool) -> Result:
    if not quick:
        return _run(STORE, SEEDS, {}, keep=True)
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder), SEEDS[:1], QUICK, keep=False)


def _run(root: Path, seeds: Sequence[int], changes: Mapping[str, Any], *, keep: bool) -> Result:
    resumed = root.exists() and any(root.iterdir())
    started, used = time.monotonic(), _cpu_seconds()
    try:
        found = asyncio.run(_all_seeds(root, seeds, changes))
    except SeedFailed as error:
        raise SystemExit(str(error)) from None
    minutes = (time.monotonic() - started) / 60
    store = Store(root)
    samples = Samples(store, found)
    rows = [stage_row(samples, stage) for stage in samples.stages]
    expected = [compare(samples, each) for each in EXPECTATIONS]
    document = {
        "date": date.today().isoformat(),
        "note": NOTE,
        "seeds": len(seeds),
        "problems": len(samples.problems),
        "minutes": round(minutes, 1),
        "cpu_minutes": round((_cpu_seconds() - used) / 60, 1),
        "machine": f"{os.cpu_count()} cores",
        "resumed": resumed,
        "stages": rows,
        "expectations": expected,
        "tool_statistic": tool_statistic(store, found),
    }
    if keep:
        RESULTS.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        _plot(rows)
        PAGE.write_text(page(document), "utf-8")
        narrate(f"wrote {RESULTS}, {PAGE} and {PLOT}")
    accuracy = {row["stage"]: row["accuracy"] for row in rows}
    return Result(
        ours={f"{stage}_accuracy": round(value, 4) for stage, value in accuracy.items()}
        | {"minutes": document["minutes"], "problems": document["problems"]},
        peers={},
        reached=all(each["holds"] for each in expected)
        and 0.4 <= accuracy["T3"] <= 0.8
        and minutes < MINUTES,
        note="; ".join(each["sentence"] for each in expected),
    )


async def _all_seeds(
    root: Path, seeds: Sequence[int], changes: Mapping[str, Any]
) -> dict[int, dict[str, str]]:
    """The evaluated versions by seed and stage."""
    found = await asyncio.gather(*(climb(seed, root, RECIPE, changes) for seed in seeds))
    return dict(zip(seeds, found, strict=True))


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
