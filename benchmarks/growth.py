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
from storage.parquet import write_batch
from storage.records import Trajectory
from storage.sql import query
from tirgen.filters.config import FilterConfig
from tirgen.jobs.committed import Committed
from tirgen.jobs.curate import CurateConfig, recurate

CLAIM = (
    "With compaction, SQL over a running job and resuming it cost at most half of the CPU that "
    "they cost without, and no step holds more than 1 GB."
)

PER_COMMIT = 12
STEPS = ("append", "select 1", "aggregate", "resume", "publish", "curate")


def run(quick: bool) -> Result:
    """Both ways at the same size."""
    rows = 2_400 if quick else 24_000
    ours, plain = (_measure(rows, compacted) for compacted in (True, False))
    most = max(int(ours[f"{step}_mb"] or 0) for step in STEPS)
    reached = most <= 1000 and all(
        2 * float(ours[f"{step}_cpu_s"] or 0) <= float(plain[f"{step}_cpu_s"] or 0)
        for step in ("aggregate", "resume")
    )
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
            held = list(Committed(store.find_run("bench", "bench")).rows())
            assert len(held) == rows
        case "publish":
            run = store.open_run("bench", {}, "bench")
            run.publish(run.read(), {})
        case "curate":
            config = CurateConfig(filters=FilterConfig())
            asyncio.run(recurate(store, store.version("bench"), config))


if __name__ == "__main__":
    _step(sys.argv[1], Store(Path(sys.argv[2])), int(sys.argv[3]), sys.argv[4] == "1")
