"""One generation in 1, 2, 4 and 8 processes, on an engine with a fixed latency and enough slots."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import Figures, Result, narrate
from storage.datasets import Store
from storage.sql import query
from tirgen.embedded.models import MODEL_DIR

CLAIM = "Eight processes make rows at least 0.9 times eight times as fast as one."
LATENCY = 2.0
"""Seconds of one answer."""
LIVE = 8
"""Problems in progress in each process: little enough that processors are not what limits them."""


def run(quick: bool) -> Result:
    """The rate of one process, then of more; each makes equally many rows."""
    each = 24 if quick else 96
    figures: dict[str, float] = {}
    idle: dict[str, Figures] = {}
    with _engine() as url:
        for workers in (1, 2) if quick else (1, 2, 4, 8):
            with TemporaryDirectory() as folder:
                rate, busy = _rate(Path(folder), url, workers, each)
            figures[f"rows_per_s_{workers}"] = round(rate, 3)
            idle[f"{workers} processes"] = busy
            narrate(f"{workers} processes: {rate:.2f} rows a second, {busy}")
    one = figures["rows_per_s_1"]
    speedups = {
        name.replace("rows_per_s", "speedup"): round(rate / one, 3)
        for name, rate in figures.items()
    }
    most = max(int(name.rpartition("_")[2]) for name in figures)
    return Result(
        ours={**figures, **speedups},
        peers=idle,
        reached=speedups[f"speedup_{most}"] >= 0.9 * most,
        note=(
            f"`tirgen generate --shard k/n`, {each} problems and {LIVE} of them in progress in "
            f"each process, {LATENCY:g} s an answer, engine in another process on the same "
            "machine. The rate is that of the rows made while all processes work: their start "
            "(imports, probe, sandbox: some ten CPU-seconds each) is left out. The lines below "
            "are the idle ledger of the same runs."
        ),
    )


def _rate(folder: Path, url: str, workers: int, each: int) -> tuple[float, Figures]:
    """Rows a second while all processes work, and how busy the engine's slots were then."""
    problems = folder / "problems.jsonl"
    lines = (
        json.dumps({"question": f"#{number}: what is 2 + 2?", "answer": "4"})
        for number in range(each * workers)
    )
    problems.write_text("\n".join(lines))
    roles = {
        "kind": "tokens", "base_urls": [url], "model": "slow", "tokenizer": str(MODEL_DIR),
        "concurrency": LIVE,
    }  # fmt: skip
    (folder / "run.json").write_text(
        json.dumps(
            {
                "dataset": "scaling", "problems": {"path": str(problems)}, "actor": roles,
                "critic": roles, "attempts": 1, "cot_samples": 0, "live_trajectories": LIVE,
                "prompts": "standard", "loop": {"steps": 1, "step_delimiter": ""},
            }
        )
    )  # fmt: skip
    store = Store(folder / "store")
    command = [sys.executable, "-m", "flows", "generate", "--config", str(folder / "run.json")]
    command += ["--store", str(store.root), "--json"]
    shards = [
        ["--shard", f"{number}/{workers}"] if workers > 1 else []
        for number in range(1, workers + 1)
    ]
    processes = [
        subprocess.Popen([*command, *shard], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for shard in shards
    ]
    for process in processes:
        process.communicate()
    return _measured(store, workers)


def _measured(store: Store, workers: int) -> tuple[float, Figures]:
    seconds = query(
        store,
        "select call, epoch(second) as time, sum(busy) as busy, sum(slots) as slots, "
        "sum(client) as client, sum(store) as store from idle group by all order by time",
    ).to_pylist()
    working = defaultdict[str, list[float]](list)
    for row in seconds:
        if row["busy"]:
            working[row["call"]].append(row["time"])
    assert len(working) == workers
    begin = max(min(times) for times in working.values()) + LATENCY
    end = min(max(times) for times in working.values()) - LATENCY
    [made] = query(
        store,
        f"select count(*) as n from all_trajectories "
        f"where epoch(created_at) >= {begin} and epoch(created_at) < {end}",
    ).to_pylist()
    inside = [row for row in seconds if begin <= row["time"] < end]
    total = {
        name: sum(row[name] for row in inside) for name in ("slots", "busy", "client", "store")
    }
    shares = {name: round(total[name] / total["slots"], 3) for name in ("busy", "client", "store")}
    return made["n"] / (end - begin), {**shares, "seconds": round(end - begin, 1)}


@contextmanager
def _engine() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._slow_engine", str(LATENCY)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.communicate()
