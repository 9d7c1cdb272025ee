"""What 2,000 packaged problems yield in each mode, rule by rule; writes docs/yields.md.

The runs are kept in `test-output/yields`: a published one is read, an interrupted one continues.
Remove the folder to generate again.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import Result, narrate
from benchmarks._dropped import demonstrations
from benchmarks._yield_page import page
from storage.datasets import Store
from storage.records import Program, Trajectory
from storage.versions import DatasetVersion
from tirgen.filters.apply import filter_rows, yield_table
from tirgen.filters.filter_config import Rule, TrajectoryMode
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.settings import load_settings

CLAIM = (
    "In both modes every problem is settled, something is kept of it, and every filter rule is "
    "shown by a trajectory that it dropped."
)
PROBLEMS, QUICK_PROBLEMS = 2000, 24
NOTE = "Settings are those of that day."
"""Edited in the JSON where a measurement is older than a default."""
ROOT = Path(__file__).parents[1]
STORE = ROOT / "test-output" / "yields"
RESULTS, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "yields.md"


def run(quick: bool) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) if quick else STORE)
        size = QUICK_PROBLEMS if quick else PROBLEMS
        versions = {mode: _version(configuration(mode, size), store) for mode in TrajectoryMode}
        rows = {mode: _curated(configuration(mode, size), v) for mode, v in versions.items()}
        reports = {mode: _report(mode, versions[mode], rows[mode]) for mode in TrajectoryMode}
        dropped = demonstrations(list(rows.values()), Path(folder))
    if not quick:
        _write(reports, dropped)
    figures = {f"{mode}_{name}": report[name] for mode, report in reports.items()
               for name in ("trajectories", "kept", "problems_kept")}  # fmt: skip
    shown = {row["rule"] for row in dropped} == {rule.value for rule in Rule}
    return Result(
        ours=figures,
        peers={},
        reached=shown and all(report["kept"] > 0 for report in reports.values()),
        note=f"{size} problems of pocket:train a mode, default settings; the page has the tables",
    )


def configuration(mode: TrajectoryMode, size: int) -> GenerateConfig:
    """Default settings: the same as `tirgen generate` with the flags that the page names."""
    name = f"yield-{mode.value.replace('_', '-')}"
    return load_settings(
        GenerateConfig,
        None,
        {
            "dataset": name,
            "mode": mode.value,
            "problems.path": "pocket:train",
            "problems.limit": size,
        },
    )


def _version(config: GenerateConfig, store: Store) -> DatasetVersion:
    """The newest version, if it has as many problems as are asked for, else a new one."""
    found = store.versions(config.dataset)
    if found and found[-1].manifest["summary"]["problems"] == config.problems.limit:
        return found[-1]
    narrate(f"{config.dataset}: {config.problems.limit} problems")
    return asyncio.run(generate(config, store)).version


def _curated(config: GenerateConfig, version: DatasetVersion) -> list[Trajectory]:
    """All rows, with the verdicts of the filters as they are now."""
    return filter_rows(version.read(), config.filters, config.seed)


def _report(
    mode: TrajectoryMode, version: DatasetVersion, rows: list[Trajectory]
) -> dict[str, Any]:
    made = [row for row in rows if row.program is Program.TIRGEN]
    kept = [row for row in made if row.kept]
    baselines = [row for row in rows if row.program is Program.COT]
    return {
        "dataset": version.dataset,
        "mode": mode.value,
        "config_hash": version.manifest["config_hash"],
        "date": date.today().isoformat(),
        "note": NOTE,
        "problems": len({row.problem.problem_id for row in rows}),
        "trajectories": len(made),
        "baselines": len(baselines),
        "correct": sum(row.correct for row in made),
        "baselines_correct": sum(row.correct for row in baselines),
        "kept": len(kept),
        "problems_kept": len({row.problem.problem_id for row in kept}),
        "calls_of_kept": dict(sorted(Counter(str(len(row.calls)) for row in kept).items())),
        "policy_tokens_of_kept": round(
            sum(step.policy_tokens for row in kept for step in row.steps) / max(1, len(kept)), 1
        ),
        "yield": [asdict(row) for row in yield_table(rows)],
    }


def _write(reports: dict[TrajectoryMode, dict[str, Any]], dropped: list[dict[str, Any]]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    for report in reports.values():
        _save(RESULTS / f"{report['dataset']}.json", report)
    _save(RESULTS / "yield-dropped.json", dropped)
    PAGE.write_text(page(RESULTS), "utf-8")
    narrate(f"wrote {PAGE}")


def _save(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
