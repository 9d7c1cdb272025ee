"""What a run and its dataset cost as they grow: CPU-seconds and peak memory, each in a process.

Rows are small and appended in commits of 12, as a generation commits them; `SIZES` are rows.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path

from benchmarks import Result, narrate
from benchmarks.store import sample_row
from flows.cli import run as tirgen
from storage import memory
from storage.commits import LOG, read_commits
from storage.datasets import Store
from storage.difference import difference
from storage.records import Ending, FilterVerdict, Outcome, Program, Step, Trajectory, trajectory_id
from storage.runs import Run
from storage.sql import query
from storage.versions import VERDICTS
from tirgen.filters.apply import Filtering
from tirgen.filters.filter_config import FilterConfig
from tirgen.jobs.budget import BudgetSettings
from tirgen.jobs.committed_rows import CommittedRows
from tirgen.jobs.curate import CurateConfig, curate_version

CLAIM = (
    "From a thousand rows to a million, `select 1`, a query on another dataset and a commit cost "
    "the same, queries on flat columns stay below one CPU-second, no step holds more than 1 GB "
    "beside the interpreter, and a curation writes at most a fifth of the bytes of its rows."
)

SIZES, QUICK = (10**3, 10**4, 10**5, 10**6), (960, 4_800)
PER_COMMIT, ATTEMPTS = 12, 8
OTHER = "SELECT count(*) AS n FROM all_trajectories WHERE dataset = 'other'"
LATER = 50
"""Commits that are measured once the run has its size."""
FLAT_QUERIES = {
    "yield": "FROM yields WHERE dataset = 'bench'",
    "accuracy": "SELECT difficulty, program, n, accuracy FROM accuracy",
    "dropped": "SELECT dropped_by, count(*) FROM trajectories WHERE NOT kept GROUP BY 1",
    "costs": "SELECT dataset, tokens_per_kept FROM costs",
    "mixed": "SELECT count(*) FROM problems WHERE mixed",
    "tools": "FROM tool_use",
    "longest": "SELECT trajectory_id, n_policy_tokens FROM trajectories ORDER BY 2 DESC LIMIT 10",
}
NESTED_QUERIES = {
    "failures": "SELECT level, what, count(*) FROM failures GROUP BY ALL",
    "search": "SELECT count(*) FROM search('w17 w23')",
    "extremes": "SELECT extreme, count(*) FROM extremes GROUP BY 1",
}
QUERIES = FLAT_QUERIES | NESTED_QUERIES | {"one trajectory": "FROM trajectory('{id}')"}
FLAT = ("select 1", "another dataset", "commit")
"""What must not grow; a commit is the mean of `LATER`."""
_BASE_MB, _NOISE_S = 400, 0.3


def run(quick: bool) -> Result:
    """The same steps at each size."""
    figures: dict[str, float | int] = {}
    sizes = QUICK if quick else SIZES
    for rows in sizes:
        figures |= measure(rows)
    most, least = sizes[-1], sizes[0]
    grown = [
        figures[f"{step}_cpu_s_{most}"] > 2 * figures[f"{step}_cpu_s_{least}"] + _NOISE_S
        for step in FLAT
    ]
    slow = [name for name in FLAT_QUERIES if figures[f"{name}_cpu_s_{most}"] > 1]
    peaks = [value for name, value in figures.items() if "_mb_" in name and "wrote" not in name]
    reached = (
        not any(grown)
        and not slow
        and max(peaks) <= memory.limit() / 1e6 + _BASE_MB
        and 5 * figures[f"curate_wrote_mb_{most}"] <= figures[f"publish_wrote_mb_{most}"]
    )
    return Result(ours=figures, peers={}, reached=reached, note=NOTE)


NOTE = (
    f"rows of 2 steps and 60 tokens in commits of {PER_COMMIT}, {ATTEMPTS} attempts a problem; "
    "CPU-seconds without the start of the process; the peak is of the whole process, of which the "
    "start is `nothing`; a commit is the mean of some at the end"
)


def measure(rows: int) -> dict[str, float | int]:
    """All steps at one size, in a store of its own."""
    figures: dict[str, float | int] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as root:
        for step in ("append", *STEPS):
            narrate(f"{rows} rows: {step}")
            command = [sys.executable, "-m", "benchmarks.growth", step, root, str(rows)]
            found = json.loads(subprocess.check_output(command).splitlines()[-1])
            narrate(f"    {found}")
            figures |= {f"{step}_{name}_{rows}": value for name, value in found.items()}
    return figures


def _append(store: Store, rows: int) -> None:
    other = store.open_run("other", {}, "other")
    other.publish([replace(row(0), dataset="other")], {"problems": 1})
    opened = store.open_run("bench", {}, "bench")
    for start in range(0, rows, PER_COMMIT):
        opened.append([row(n) for n in range(start, min(start + PER_COMMIT, rows))])


@cache
def _text() -> str:
    rng = random.Random(0)
    return " ".join(f"w{rng.randrange(5_000)}" for _ in range(300_000))


def _words(rng: random.Random) -> str:
    start = rng.randrange(len(_text()) - 250)
    return _text()[start : start + 250]


def _step(rng: random.Random) -> Step:
    outcome = Outcome.ERROR if rng.random() < 0.1 else Outcome.OK
    number = rng.randrange(1000)
    return Step(
        thought=_words(rng),
        action=f"print({number})",
        observation=str(number),
        outcome=outcome,
        policy_tokens=60,
    )


@cache
def _template() -> Trajectory:
    return sample_row(0, 0, 0)


def row(number: int) -> Trajectory:
    """The `number`-th row; its texts are cut from two megabytes of words."""
    rng, template = random.Random(number), _template()
    problem, attempt = divmod(number, ATTEMPTS)
    correct = rng.random() < 0.6
    kept = correct and rng.random() < 0.7
    rule = "correct" if not correct else "too_long"
    start = rng.randrange(240)
    tokens = template.tokens
    assert template.verdict is not None
    key = (f"p{problem:07}", Program.TIRGEN.value, attempt)
    return replace(
        template,
        trajectory_id=trajectory_id("bench", "bench", key),
        problem=replace(
            template.problem,
            problem_id=key[0],
            question=_words(random.Random(problem)),
            difficulty=str(problem % 5),
        ),
        attempt=attempt,
        steps=(_step(rng), _step(rng)),
        ending=Ending.FINISHED if rng.random() < 0.98 else Ending.ENGINE_ERROR,
        verdict=replace(template.verdict, correct=correct),
        filters=(FilterVerdict(rule="none" if kept else rule, kept=kept, reason=rule),),
        tokens=replace(
            tokens,
            token_ids=tokens.token_ids[start : start + 60],
            loss_mask=tokens.loss_mask[:60],
            logprobs=tokens.logprobs[start : start + 60],
        ),
        created_at=float(number),
    )


def _run(store: Store) -> Run:
    found = store.find_run("bench", "bench")
    assert found is not None
    return found


def _resume(store: Store, rows: int) -> None:
    committed = CommittedRows(_run(store))
    assert sum(1 for _ in committed.rows()) == rows
    committed.spend(BudgetSettings(), began=0.0)


def _publish(store: Store, rows: int) -> None:
    opened = store.open_run("bench", {}, "bench")
    filtering = Filtering(opened.reader(in_order=True), FilterConfig(), seed=0)
    opened.publish(filtering.rows(), lambda: {"problems": filtering.problems}, in_order=True)


def _curate(store: Store, rows: int) -> None:
    config = CurateConfig(filters=FilterConfig(minimum_calls=2))
    asyncio.run(curate_version(store, store.version("bench@v1"), config))


def _export(store: Store, rows: int) -> None:
    with redirect_stderr(StringIO()):
        out = str(store.root / "export.jsonl")
        assert tirgen(["dataset", "export", "bench@v1", out, "--store", str(store.root)]) == 0


def _later(store: Store, rows: int) -> None:
    opened = _run(store)
    for number in range(LATER):
        start = rows + PER_COMMIT * number
        opened.append([row(n) for n in range(start, start + PER_COMMIT)])


def _ask(sql: str) -> Callable[[Store, int], object]:
    return lambda store, rows: query(store, sql.replace("{id}", row(rows // 2).trajectory_id))


STEPS: dict[str, Callable[[Store, int], object]] = {
    "nothing": lambda store, rows: None,
    "select 1 while it runs": _ask("SELECT 1"),
    "another dataset while it runs": _ask(OTHER),
    "progress": _ask("SELECT count(*), sum(kept::INT) FROM running"),
    "resume": _resume,
    "publish": _publish,
    "select 1": _ask("SELECT 1"),
    "another dataset": _ask(OTHER),
    **{name: _ask(sql) for name, sql in QUERIES.items()},
    "export": _export,
    "curate": _curate,
    "diff": lambda store, rows: difference(store, "bench@v1", "bench@v2", limit=20),
    "after curation": _ask(FLAT_QUERIES["accuracy"]),
    "commit": _later,
}


def _peak_mb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def _one(step: str, root: Path, rows: int) -> dict[str, float | int]:
    store = Store(root)
    wall, cpu = time.monotonic(), time.process_time()
    if step == "append":
        _append(store, rows)
    else:
        STEPS[step](store, rows)
    found: dict[str, float | int] = {
        "cpu_s": round(time.process_time() - cpu, 3),
        "wall_s": round(time.monotonic() - wall, 3),
        "mb": _peak_mb(),
    }
    if step == "append":
        found["files"] = len(read_commits(_run(store).folder / LOG).commits)
    if step in ("publish", "curate"):
        pattern = "part-*" if step == "publish" else f"{VERDICTS}*"
        size = sum(path.stat().st_size for path in store.version("bench").path.glob(pattern))
        found["wrote_mb"] = round(size / 1e6, 3)
    if step == "commit":
        found["cpu_s"] = round(found["cpu_s"] / LATER, 4)
    return found


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
