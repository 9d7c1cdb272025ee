"""What a run and its dataset cost as they grow: CPU-seconds and peak memory, each in a process.

Rows are appended in commits of 12, as a generation commits them, with and without compaction.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import Figures, Result, narrate
from benchmarks.store import sample_row
from storage.commits import BATCHES, LOG, read_commits
from storage.commits import append as commit
from storage.datasets import Store
from storage.difference import difference
from storage.parquet import write_batch
from storage.records import Trajectory
from storage.sql import query
from storage.versions import VERDICTS
from tirgen.filters.filter_config import FilterConfig
from tirgen.jobs.curate import CurateConfig, curate_version

CLAIM = (
    "With compaction, reading the columns of a running job, as a resumed job does, costs at most "
    "half of the CPU that it costs without, no step holds more than 1 GB, and a curation writes at "
    "most a fifth of the bytes of its rows."
)

PER_COMMIT = 12
STEPS = ("append", "nothing", "select 1", "aggregate", "resume", "publish", "curate", "diff")
"""In `nothing` a process only starts; the others contain its cost."""
_COLUMNS = ["trajectory_id", "problem_id", "question", "gold_answer", "ending", "correct"]


def run(quick: bool) -> Result:
    """Both ways at the same size."""
    rows = 2_400 if quick else 12_000
    ours, plain = (_measure(rows, compacted) for compacted in (True, False))
    most = max(int(ours[f"{step}_mb"] or 0) for step in STEPS)
    reading, without = (
        float(figures["resume_cpu_s"] or 0) - float(figures["nothing_cpu_s"] or 0)
        for figures in (ours, plain)
    )
    small = 5 * float(ours["verdict_mb"] or 0) <= float(ours["row_mb"] or 0)
    reached = most <= 1000 and 2 * reading <= without and small
    note = f"{rows} rows of 4 steps and 300 tokens in commits of {PER_COMMIT}"
    return Result(ours=ours, peers={"without compaction": plain}, reached=reached, note=note)


def _measure(rows: int, compacted: bool) -> Figures:
    figures: dict[str, float | int] = {"rows": rows}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as root:
        for step in STEPS:
            narrate(f"{rows} rows, {'with' if compacted else 'without'} compaction: {step}")
            arguments = [sys.executable, "-m", "benchmarks.growth", step, root, str(rows)]
            with subprocess.Popen([*arguments, str(int(compacted))]) as process:
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise RuntimeError(f"{step} failed")
            figures[f"{step}_cpu_s"] = round(used.ru_utime + used.ru_stime, 2)
            figures[f"{step}_mb"] = used.ru_maxrss // 1024
            if step == "curate":
                curated = Store(Path(root)).version("bench@v2")
                for name, pattern in (("row_mb", "part-*"), ("verdict_mb", f"{VERDICTS}*")):
                    size = sum(path.stat().st_size for path in curated.path.glob(pattern))
                    figures[name] = round(size / 1e6, 3)
            if step == "append":
                log = next(Path(root).rglob(LOG))
                figures["files"] = len(read_commits(log).commits)
    return figures


def _append(store: Store, rows: int, compacted: bool) -> None:
    run = store.open_run("bench", {}, "bench")
    for number in range(0, rows, PER_COMMIT):
        made = [_row(number + one) for one in range(PER_COMMIT)]
        if compacted:
            run.append(made)
        else:
            path = run.folder / BATCHES / f"{number:08}.parquet"
            commit(path, len(made), partial(write_batch, trajectories=made))


def _row(number: int) -> Trajectory:
    return sample_row(number // 8, 0, number % 8)


def _step(step: str, store: Store, rows: int, compacted: bool) -> None:
    match step:
        case "append":
            _append(store, rows, compacted)
        case "select 1":
            query(store, "SELECT 1")
        case "aggregate":
            query(store, "SELECT avg(wall_seconds), count(*) FROM running")
        case "resume":
            run = store.find_run("bench", "bench")
            assert run is not None
            assert sum(map(len, run.columns(_COLUMNS))) == rows
        case "publish":
            run = store.open_run("bench", {}, "bench")
            run.publish(run.reader(in_order=True)(), {}, in_order=True)
        case "curate":
            source = store.version("bench@v1")
            config = CurateConfig(filters=FilterConfig(minimum_calls=2))
            asyncio.run(curate_version(store, source, config))
        case "diff":
            difference(store, "bench@v1", "bench@v2", limit=20)


if __name__ == "__main__":
    _step(sys.argv[1], Store(Path(sys.argv[2])), int(sys.argv[3]), sys.argv[4] == "1")
