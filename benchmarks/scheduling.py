"""How full chains of actor, sandbox and critic keep a server whose slots are bounded."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from benchmarks import Figures, Result, narrate
from storage.datasets import Store
from storage.sql import query
from tirgen.embedded.models import MODEL_DIR

CLAIM = (
    "Chains keep a bounded server at least 0.80 (200 chains), 0.95 (2,000) and 0.75 (2,000 with "
    "stragglers) as busy as can be."
)
WANTED = {"200": 0.80, "2000": 0.95, "2000, stragglers": 0.75}
SECONDS, SLOTS, STRAGGLERS = 0.1, 32, 0.05
PEERS = Path(__file__).with_name("_scheduling_peers.py")
PEER_PYTHONS = {
    "datatrove": "TIRGEN_BENCH_DATATROVE",
    "data-designer": "TIRGEN_BENCH_DATA_DESIGNER",
}
"""Variables that name a python with this peer, in an environment of its own."""

Drive = Callable[[str, int, Path], None]
"""Runs a number of chains against the server at a URL; its files go to the folder."""


def run(quick: bool) -> Result:
    """Each contender on the same loads; one after the other."""
    loads = {"20": (20, 0.0)} if quick else {
        "200": (200, 0.0), "2000": (2000, 0.0), "2000, stragglers": (2000, STRAGGLERS),
    }  # fmt: skip
    ours: dict[str, Any] = {}
    peers: dict[str, dict[str, Any]] = {name: {} for name in ("asyncio + aiohttp", *PEER_PYTHONS)}
    for load, (chains, stragglers) in loads.items():
        with TemporaryDirectory() as folder:
            ours[load] = _share(_tirgen, chains, stragglers, Path(folder))
            narrate(f"{load}: tirgen {ours[load]}")
            ours |= {f"{load}: {name}": value for name, value in _idle(Path(folder)).items()}
        for name, figures in peers.items():
            with TemporaryDirectory() as folder:
                figures[load] = _share(_driver(name), chains, stragglers, Path(folder))
            narrate(f"{load}: {name} {figures[load]}")
    reached = all(ours.get(load, 0.0) >= share for load, share in WANTED.items())
    return Result(
        ours=ours,
        peers=peers,
        reached=reached,
        note=(
            f"ideal / span: the seconds that {SLOTS} slots need for all answers, by the seconds "
            f"from the first request to the last reply; {SECONDS:g} s an answer, {STRAGGLERS:.0%} "
            f"of them ten times as long under stragglers. A chain of tirgen is one of `tirgen "
            "generate`: actor, critic, sandbox, critic, verifier, filters, commit. One of a peer "
            "is actor, then critic, without a sandbox. Beside ours: the idle ledger of that run. "
            "null: the environment of that peer is not there."
        ),
    )


def _share(drive: Drive | None, chains: int, stragglers: float, folder: Path) -> float | None:
    """ideal / span."""
    if drive is None:
        return None
    with _server(stragglers) as (url, ended):
        drive(url, chains, folder)
        found = ended()
    ideal: float = found["busy"] / SLOTS
    return round(ideal / float(found["span"]), 3)


def _driver(name: str) -> Drive | None:
    if name not in PEER_PYTHONS:
        return _asyncio
    python = os.environ.get(PEER_PYTHONS[name])
    return _peer(name, python) if python else None


def _peer(name: str, python: str) -> Drive:
    def drive(url: str, chains: int, folder: Path) -> None:
        command = [python, str(PEERS), name, url, str(chains), str(SLOTS)]
        subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)

    return drive


def _asyncio(url: str, chains: int, folder: Path) -> None:
    """Two requests after each other, for as many chains at once as the server has slots."""

    async def work() -> None:
        slots = asyncio.Semaphore(SLOTS)
        async with aiohttp.ClientSession() as session:

            async def chain(number: int) -> None:
                async with slots:
                    text = f"What is {number} + {number}?"
                    for model in ("actor", "critic"):
                        body = {"model": model, "messages": [{"role": "user", "content": text}]}
                        async with session.post(url + "/chat/completions", json=body) as answer:
                            found = await answer.json()
                            text = found["choices"][0]["message"]["content"]

            await asyncio.gather(*map(chain, range(chains)))

    asyncio.run(work())


def _tirgen(url: str, chains: int, folder: Path) -> None:
    """`tirgen generate` as its users start it."""
    problems = folder / "problems.jsonl"
    lines = (
        json.dumps({"question": f"#{number}: what is 17 + 25?", "answer": "42"})
        for number in range(chains)
    )
    problems.write_text("\n".join(lines))
    config: dict[str, Any] = {
        "dataset": "scheduling", "problems": {"path": str(problems)}, "attempts": 1,
        "cot_samples": 0, "live_trajectories": 2 * SLOTS, "prompts": "standard",
        "loop": {"steps": 1, "step_delimiter": ""},
    }  # fmt: skip
    for role in ("actor", "critic"):
        config[role] = {
            "kind": "tokens", "base_urls": [url], "model": role, "tokenizer": str(MODEL_DIR),
            "concurrency": SLOTS,
        }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "flows", "generate", "--config", str(folder / "run.json")]
    done = subprocess.run(
        [*command, "--store", str(folder / "store"), "--json"], stdout=subprocess.PIPE, check=False
    )  # it ends with 1 if the filters keep nothing: the chains are much alike
    assert json.loads(done.stdout)["made_now"] == chains


def _idle(folder: Path) -> Figures:
    """Why slots had no request, as shares of all slots while trajectories were in progress."""
    [row] = query(
        Store(folder / "store"),
        "select sum(busy) as busy, sum(sandbox) as sandbox, sum(verifier) as verifier, "
        "sum(store) as store, sum(client) as client, sum(other_engine) as other_engine, "
        "sum(job_limits) as job_limits, sum(stragglers) as stragglers, "
        "sum(slots) - sum(no_work) as slots from idle",
    ).to_pylist()
    slots = row.pop("slots")
    return {f"idle ledger, {name}": round(value / slots, 3) for name, value in row.items()}


@contextmanager
def _server(stragglers: float) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._slots_server",
         str(SECONDS), str(SLOTS), str(stragglers)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def ended() -> dict[str, Any]:
        out, _ = process.communicate()
        found: dict[str, Any] = json.loads(out)
        return found

    with process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1", ended
        finally:
            process.kill()
