"""Nothing holds a dataset: the peak memory of each step does not grow with the number of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SIZES = (2_000, 8_000)
ROW_KB = 20
MOST_MB = 80
"""By how much the peak may grow: less than the 120 MB by which the text of the rows grows. Smaller
differences are memory that the allocators keep."""

SCRIPT = """
import asyncio, os, random, resource, sys
from dataclasses import replace
from pathlib import Path
from storage import compaction, versions
from storage.datasets import Store
from storage.records import Outcome, Program, Step, trajectory_id
from storage.runs import Run
from storage.sql import query
from tests.rows import row
from tirgen.filters.apply import Filtering
from tirgen.filters.filter_config import FilterConfig
from tirgen.jobs.budget import BudgetSettings
from tirgen.jobs.committed_rows import CommittedRows
from tirgen.jobs.curate import CurateConfig, curate_version

what, root, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
versions.GROUP_BYTES = 4 << 20
compaction.FAN_IN = 10**9
store = Store(root)


def rows():
    rng = random.Random(0)
    text = "".join(rng.choice("0123456789abcdef ") for _ in range(1_000_000))
    template = row("p")
    for number in range(count):
        start = rng.randrange(len(text) - ROW)
        step = Step(thought="a", action="print(1)", observation="1", outcome=Outcome.OK)
        long = text[start : start + ROW]  # in the question, which no rule reads: they take time
        problem = replace(template.problem, problem_id=f"p{number // 4}", question=long)
        key = (problem.problem_id, Program.TIRGEN.value, number % 4)
        yield replace(template, trajectory_id=trajectory_id("d", "h", key), problem=problem,
            attempt=number % 4, steps=(step,))


run = store.find_run("d", "h") or store.open_run("d", {"seed": 0}, "h")
match what:
    case "commit":
        held = []
        for one in rows():
            held.append(one)
            if len(held) == 250:
                run.append(held)
                held = []
    case "publish":
        filtering = Filtering(run.reader(in_order=True), FilterConfig(), seed=0)
        run.publish(filtering.rows(), lambda: {"n": filtering.count}, in_order=True)
    case "resume":
        committed = CommittedRows(run)
        assert sum(1 for _ in committed.rows()) == count
        committed.spend(BudgetSettings(), began=0.0)
        assert committed.version() is not None
    case "curate":
        config = CurateConfig(filters=FilterConfig(minimum_calls=1, near_duplicate=None))
        asyncio.run(curate_version(store, store.version("d@v1"), config))
    case "sql":
        query(store, "SELECT count(*) FROM search('0123')")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
STEPS = ("commit", "publish", "resume", "curate", "sql")


def peaks(root: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Peak memory in MB of a process for each step."""
    monkeypatch.setenv("TIRGEN_MEMORY_GB", "0.1")
    script = SCRIPT.replace("ROW", str(ROW_KB * 1_000))
    found = {}
    for step in STEPS:
        command = [sys.executable, "-c", script, step, str(root), str(rows)]
        found[step] = int(subprocess.check_output(command))
    return found


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (peaks(tmp_path / str(rows), rows, monkeypatch) for rows in SIZES)
    grown = {step: many[step] - few[step] for step in STEPS}
    assert {step: by for step, by in grown.items() if by > MOST_MB} == {}
