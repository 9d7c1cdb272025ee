"""The ladder on a real model and real problems: SmolLM2-135M on GSM8K.

The cold start learns ToRA's trajectories of one half of the problems, with every program run again;
RL samples that half; the other half is evaluated. Stages are stored in `test-output/real-model`:
an interrupted run continues. It takes hours on two cores.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import Result, narrate
from benchmarks._compare import EXPECTATIONS, Samples, compare, sentence, stage_row
from benchmarks._stages import SeedFailed, climb
from storage.datasets import Store

CLAIM = (
    "On GSM8K, SmolLM2-135M is right more often with programs after a cold start than by chain of "
    "thought, and after both levels of RL more often than after the trajectory level alone"
)
ROOT = Path(__file__).parents[1]
RECIPE = Path(__file__).with_name("real_model.toml")
STORE = ROOT / "test-output" / "real-model"
RESULTS = ROOT / "docs" / "results" / "real-model.json"
SHARED = ROOT.parent / "shared" / "data"
MODEL = ROOT / ".models" / "smollm2"
PROBLEMS = 100
"""Of the half that is evaluated."""
SOLUTIONS = 300
"""Of the half that is learned. The trainer computes with one thread: half an hour on a processor
with AVX2 only."""
QUICK_PROBLEMS = 8
QUICK = {
    "rl.rollouts.groups": None,
    "rl.rollouts.samples": 2,
    "rl.update.updates": 1,
    "step_rl.rollouts.groups": None,
    "step_rl.rollouts.samples": 2,
    "step_rl.update.updates": 1,
}


def run(quick: bool) -> Result:
    if not (MODEL / "config.json").is_file():
        raise SystemExit(f"{MODEL} is not there: run `make smollm2`")
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED} is not there: it has GSM8K and ToRA's solutions")
    if not quick:
        return _run(STORE, {}, quick)
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder), QUICK, quick)


def _run(root: Path, changes: Mapping[str, Any], quick: bool) -> Result:
    problems, solutions = (QUICK_PROBLEMS, 8 * QUICK_PROBLEMS) if quick else (PROBLEMS, SOLUTIONS)
    halves = _halves(root / "inputs", solutions)
    questions: dict[str, Any] = {"path": str(halves["learned"])}
    if quick:
        questions |= {"limit": problems}
    changes = {
        "parent": str(MODEL),
        "cold_start.path": str(halves["solutions"]),
        "rl.rollouts.problems": questions,
        "step_rl.rollouts.problems": questions,
        "evaluation.benchmarks": [{"path": str(halves["evaluated"]), "limit": problems}],
        **changes,
    }
    try:
        versions = asyncio.run(climb(0, root, RECIPE, changes))
    except SeedFailed as error:
        raise SystemExit(str(error)) from None
    samples = Samples(Store(root), {0: versions})
    rows = [stage_row(samples, stage) for stage in samples.stages]
    compared = [
        compare(samples, each)
        for each in EXPECTATIONS
        if {each.later, each.earlier} <= versions.keys()
    ]
    if not quick:
        document = {
            "date": date.today().isoformat(), "problems": len(samples.problems),
            "stages": rows, "expectations": compared,
        }  # fmt: skip
        RESULTS.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        narrate(f"wrote {RESULTS}")
    return Result(
        ours={f"{row['stage']}_accuracy": round(row["accuracy"], 4) for row in rows},
        peers={},
        reached=all(each["holds"] for each in compared),
        note="; ".join(map(sentence, compared)),
    )


def _halves(folder: Path, most: int) -> dict[str, Path]:
    """Every second problem to learn from, with at most `most` solutions; the others to evaluate."""
    folder.mkdir(parents=True, exist_ok=True)
    problems = _lines(SHARED / "problems/gsm8k_test.jsonl")
    solutions = _lines(SHARED / "recorded/tora_code_34b_gsm8k.jsonl")
    parts = {
        "solutions": solutions[::2][:most],
        "learned": problems[::2],
        "evaluated": problems[1::2],
    }
    paths = {name: folder / f"{name}.jsonl" for name in parts}
    for name, lines in parts.items():
        paths[name].write_text("".join(lines), "utf-8")
    return paths


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines(keepends=True)
