"""The same job in two processes at once: one works, the other waits, and nothing is paid twice."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from storage.datasets import Store
from storage.records import Trajectory
from storage.runs import Run
from tests.jobs.hostile_engine import HostileEngine
from tirgen.jobs.generate import GenerationReport, generate, generation
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.progress import GenerationProgress
from tirgen.jobs.shards import Shard

PROBLEMS = 24


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[tuple[HostileEngine, dict[str, Any]]]:
    """An engine that writes one honest line when it is allowed to, and the settings to reach it."""
    (tmp_path / "model").mkdir()
    engine = HostileEngine(tmp_path / "model")
    engine.write = lambda prompt: "So it is \\boxed{4}."
    await engine.allow(0)
    async with TestServer(engine.app()) as server:
        roles = {
            "kind": "tokens", "base_urls": [str(server.make_url("/v1"))], "model": "hostile",
            "tokenizer": str(tmp_path / "model"), "concurrency": 2,
        }  # fmt: skip
        path = tmp_path / "problems.jsonl"
        rows = [{"question": f"#{n}# What is 2 + 2?", "answer": "4"} for n in range(PROBLEMS)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        yield engine, {
            "dataset": "twins", "problems": {"path": str(path)}, "actor": roles, "critic": roles,
            "prompts": "standard", "attempts": 1, "cot_samples": 0, "live_trajectories": 2,
            "loop": {"steps": 1}, "filters": {"off": ["uses_tool"]},
        }  # fmt: skip


async def started(folder: Path, settings: dict[str, Any]) -> asyncio.subprocess.Process:
    (folder / "run.json").write_text(json.dumps(settings))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flows", "generate", "--config", str(folder / "run.json"),
        "--store", str(folder / "store"), "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def published(store: Path) -> list[Trajectory]:
    versions = Store(store).versions("twins")
    assert [version.version for version in versions] == ["v1"]
    return list(versions[0].read())


def asked(engine: HostileEngine) -> Counter[str]:
    """How often each question was asked; the critic is shown no question."""
    return Counter(prompt.split("#")[1] for prompt in engine.calls if "#" in prompt)


async def said(process: asyncio.subprocess.Process, words: str) -> str:
    """The line of stderr that holds `words`."""
    assert process.stderr is not None
    lines: list[str] = []
    while line := (await process.stderr.readline()).decode():
        lines.append(line)
        if words in line:
            return line
    raise AssertionError(f"ended without saying {words!r}: {lines}")


async def test_the_second_of_two_waits_and_reuses(
    engine: tuple[HostileEngine, dict[str, Any]], tmp_path: Path
) -> None:
    server, settings = engine
    first = await started(tmp_path, settings)
    await said(first, "starting fresh")
    second = await started(tmp_path, settings)
    line = await said(second, "works on this configuration")
    assert f"process {first.pid} on " in line
    await server.allow(math.inf)
    (out, _), (again, _) = await asyncio.gather(first.communicate(), second.communicate())
    assert (first.returncode, second.returncode) == (0, 0)
    assert [json.loads(out)["made_now"], json.loads(again)["made_now"]] == [PROBLEMS, 0]
    assert json.loads(again)["reused_version"]
    assert len(published(tmp_path / "store")) == PROBLEMS
    assert set(asked(server).values()) == {1}


async def test_the_second_takes_over_when_the_first_is_killed(
    engine: tuple[HostileEngine, dict[str, Any]], tmp_path: Path
) -> None:
    server, settings = engine
    first = await started(tmp_path, settings)
    await said(first, "starting fresh")
    second = await started(tmp_path, settings)
    await said(second, "works on this configuration")
    await server.allow(PROBLEMS)
    run = Store(tmp_path / "store").find_run("twins", fingerprint(settings))
    await until(lambda: rows_in(run) >= PROBLEMS // 3)
    os.kill(first.pid, signal.SIGKILL)
    await first.communicate()
    committed = rows_in(run)
    await server.allow(math.inf)
    out, err = await second.communicate()
    assert second.returncode == 0, (out + err).decode()
    report = json.loads(out)
    assert (report["reused_rows"], report["made_now"]) == (committed, PROBLEMS - committed)
    assert len({row.key for row in published(tmp_path / "store")}) == PROBLEMS
    paid_again = [question for question, times in asked(server).items() if times > 1]
    assert len(paid_again) <= 2 * settings["live_trajectories"], "only what was under way"


async def until(holds: Callable[[], bool]) -> None:
    """Of files that another process writes, which no event tells of."""
    for _ in range(1200):
        if holds():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it never came to be")


def fingerprint(settings: dict[str, Any]) -> str:
    return GenerateConfig.model_validate(settings).fingerprint()


def rows_in(run: Run | None) -> int:
    return len(list(run.read())) if run else 0


async def test_twins_in_one_process_do_the_same(
    engine: tuple[HostileEngine, dict[str, Any]], tmp_path: Path
) -> None:
    server, settings = engine
    config, store = GenerateConfig.model_validate(settings), Store(tmp_path / "store")
    waited: list[str] = []

    def watch(progress: GenerationProgress) -> None:
        if progress.waiting_for:
            waited.append(progress.waiting_for)

    await server.allow(math.inf)
    first, second = await asyncio.gather(generate(config, store, watch), generate(config, store))
    made = sorted(report.progress.trajectories for report in (first, second))
    assert made == [0, PROBLEMS]
    assert len(waited) <= 1
    assert str(first.version) == str(second.version)
    assert set(asked(server).values()) == {1}


async def test_shards_are_worked_on_at_once_and_published_together(
    engine: tuple[HostileEngine, dict[str, Any]], tmp_path: Path
) -> None:
    server, settings = engine
    config, store = GenerateConfig.model_validate(settings), Store(tmp_path / "store")

    async def settle(number: int) -> int:
        async with generation(config, store, shard=Shard(number, 3)) as opened:
            await opened.settle(opened.todo)
            return opened.progress.trajectories

    await server.allow(math.inf)
    made = await asyncio.gather(settle(1), settle(2), settle(3), settle(2))
    assert sum(made) == PROBLEMS
    assert min(made[1], made[3]) == 0
    report: GenerationReport = await generate(config, store)
    assert report.progress.trajectories == 0
    assert len(published(store.root)) == PROBLEMS
    assert set(asked(server).values()) == {1}
