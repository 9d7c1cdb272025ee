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

from storage.calls import SECONDS_BETWEEN_NOTES
from storage.datasets import Store
from storage.records import Trajectory
from storage.runs import Run
from tests.jobs.generating import comparable
from tests.jobs.hostile_engine import HostileEngine
from tirgen.jobs.generate import GenerationReport, generate, generation
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.progress import GenerationProgress
from tirgen.jobs.shards import WHOLE, Shard, shard_lease

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


async def started(
    folder: Path, settings: dict[str, Any], *options: str
) -> asyncio.subprocess.Process:
    (folder / "run.json").write_text(json.dumps(settings))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flows", "generate", "--config", str(folder / "run.json"),
        "--store", str(folder / "store"), "--json", *options,
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


async def test_shards_in_processes_of_which_one_is_killed_make_the_rows_of_one_process(
    engine: tuple[HostileEngine, dict[str, Any]], tmp_path: Path
) -> None:
    """One version at the end, nothing made twice but what was under way, the same rows."""
    server, settings = engine
    shards = [await started(tmp_path, settings, "--shard", f"{n}/3") for n in (1, 2, 3)]
    await server.allow(PROBLEMS)
    run = Store(tmp_path / "store").find_run
    await until(lambda: rows_in(run("twins", fingerprint(settings))) > 6)
    os.kill(shards[1].pid, signal.SIGKILL)
    await server.allow(math.inf)
    ended = [await process.communicate() for process in shards]
    assert [process.returncode for process in shards] == [0, -signal.SIGKILL, 0], ended
    assert [json.loads(out)["version"] for out, _ in (ended[0], ended[2])] == [None, None]
    assert not Store(tmp_path / "store").versions("twins")
    again = await started(tmp_path, settings, "--shard", "2/3")
    out, err = await again.communicate()
    assert again.returncode == 0, err.decode()
    assert json.loads(out)["version"] == "v1"
    shared = published(tmp_path / "store")
    paid_again = [question for question, times in asked(server).items() if times > 1]
    assert len(paid_again) <= 2 * settings["live_trajectories"], "only what was under way"
    (tmp_path / "alone").mkdir()
    alone = await started(tmp_path / "alone", settings)
    await alone.communicate()
    single = published(tmp_path / "alone" / "store")
    assert [*map(comparable, by_key(shared))] == [*map(comparable, by_key(single))]
    assert len(shared) == PROBLEMS


def by_key(rows: list[Trajectory]) -> list[Trajectory]:
    return sorted(rows, key=lambda row: row.key)


async def test_no_share_is_claimed_that_overlaps_with_one_at_work(tmp_path: Path) -> None:
    """Not the whole job beside a share, nor a share of another division."""
    free: list[str] = []

    async def claim(shard: Shard) -> None:
        async with shard_lease(tmp_path, shard, lambda holder: None):
            free.append(shard.name)

    async with shard_lease(tmp_path, Shard(1, 2), lambda holder: None):
        async with shard_lease(tmp_path, Shard(2, 2), lambda holder: None):
            pass
        waiting = [asyncio.create_task(claim(shard)) for shard in (Shard(1, 3), WHOLE)]
        await asyncio.sleep(1.2)
        assert free == []
    await asyncio.gather(*waiting)
    assert sorted(free) == ["1-of-3", "whole"]


async def test_a_share_waits_for_the_whole_job(tmp_path: Path) -> None:
    async with shard_lease(tmp_path, WHOLE, lambda holder: None):
        with pytest.raises(TimeoutError):
            async with (
                asyncio.timeout(1.2),
                shard_lease(tmp_path, Shard(1, 2), lambda holder: None),
            ):
                pass
    async with shard_lease(tmp_path, Shard(1, 2), lambda holder: None):
        pass


async def test_the_budget_of_a_run_bounds_all_its_shards_together(
    engine: tuple[HostileEngine, dict[str, Any]], tmp_path: Path
) -> None:
    """A shard that begins late stops at what the others have spent meanwhile."""
    server, settings = engine
    await server.allow(math.inf)
    first = {**settings, "problems": {**settings["problems"], "limit": 1}}
    measured = await generate(GenerateConfig.model_validate(first), Store(tmp_path / "other"))
    cost = measured.progress.account.spend.tokens
    config = GenerateConfig.model_validate({**settings, "budget": {"tokens": 10 * cost}})
    store = Store(tmp_path / "store")
    async with (
        generation(config, store, shard=Shard(1, 2)) as one,
        generation(config, store, shard=Shard(2, 2)) as other,
    ):
        await one.settle(one.todo[:6])
        await asyncio.sleep(2 * SECONDS_BETWEEN_NOTES + 0.5)
        await other.settle(other.todo)
        assert other.progress.account.stopped
    assert 8 <= one.progress.trajectories + other.progress.trajectories <= 10
