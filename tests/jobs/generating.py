"""Generations of the pocket, in this process and as a command, and how their rows compare."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from storage.datasets import Store
from storage.records import Program, Trajectory
from tirgen.data.load import load_problems
from tirgen.jobs.engines import open_engines
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.generate_maker import TirgenMaker
from tirgen.jobs.maker import Item, RunIdentity
from tirgen.sandbox.contract import Sandbox
from tirgen.sandbox.open import open_sandbox
from tirgen.tir.core import Role
from tirgen.verification import Verifier

IDENTITY = RunIdentity("run", "hash", "0", "pocket")
DATASET = "killed"


def served_at(engine: str, model: str, sandbox: str) -> dict[str, object]:
    """Settings, for a job whose engine and sandbox are already there."""
    roles: dict[str, object] = {"sandbox.services": [sandbox]}
    for role in ("actor", "critic"):
        engine_settings = {"kind": "tokens", "base_urls": [engine], "model": model}
        roles |= {f"{role}.{name}": value for name, value in engine_settings.items()}
    return roles


def comparable(row: Trajectory) -> tuple[object, ...]:
    """Everything of a row but the clock and the last digits of its log-probabilities.

    A batch's size decides the order of the engine's sums, and with it the seventh digit.
    """
    steps = [(s.thought, s.action, s.observation, s.outcome, s.draft) for s in row.steps]
    tokens = (row.tokens.token_ids, row.tokens.loss_mask, row.tokens.prompt_length)
    return (row.key, row.ending, row.verdict, tokens, row.filters, steps, row.final_answer)


async def make_all(
    config: GenerateConfig,
    count: int,
    *,
    together: bool,
    sandbox_of: Callable[[Sandbox], Sandbox] = lambda sandbox: sandbox,
) -> list[Trajectory]:
    """One attempt at each of the first problems, all at once or one after the other."""
    problems = load_problems("pocket:test", limit=count).problems
    items = [Item(problem=p, program=Program.TIRGEN, attempt=0) for p in problems]
    async with (
        open_engines(config.actor, config.critic) as engines,
        open_sandbox(**config.sandbox.place()) as sandbox,
        Verifier() as verifier,
    ):
        roles = dict(zip(Role, engines, strict=True))
        maker = TirgenMaker(config, IDENTITY, roles, sandbox_of(sandbox), verifier)
        if together:
            return list(await asyncio.gather(*map(maker.make, items)))
        return [await maker.make(item) for item in items]


def command(store: Path, settings: dict[str, object]) -> list[str]:
    """``tirgen generate`` into `DATASET` of a store."""
    started = [sys.executable, "-m", "flows", "generate", "--dataset", DATASET, "--json"]
    for name, value in settings.items():
        started += ["--set", f"{name}={json.dumps(value)}"]
    return [*started, "--store", str(store)]


def committed(store: Store) -> list[Trajectory]:
    runs = sorted((store.root / "datasets" / DATASET / "runs").glob("*"))
    run = store.find_run(DATASET, runs[0].name) if runs else None
    return list(run.read()) if run else []


def kill_when_committed(wanted: int, started: list[str], store: Store) -> int:
    """Run a command and kill it at a number of committed rows; returns how many there are then."""
    process = subprocess.Popen(
        started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(committed(store)) < wanted and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return len(committed(store))
