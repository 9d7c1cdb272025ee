"""Models that write anything: whatever they write, a job goes on to its end and publishes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from storage.datasets import Store
from storage.records import Ending, Trajectory
from tests.jobs.hostile_engine import WRITINGS, HostileEngine

COMPLETIONS = 4 * len(WRITINGS)
"""Every writing several times, beside others."""


def written(folder: Path, count: int) -> Path:
    """As many problems as completions: each question has a number that decides what is written."""
    path = folder / "problems.jsonl"
    rows = [{"question": f"#{n}# What is 2 + 2?", "answer": "4"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def generated(
    folder: Path, kind: str, problems: int, **settings: Any
) -> tuple[dict[str, Any], list[Trajectory], HostileEngine]:
    """What ``tirgen generate`` printed and published, and the engine it asked."""
    (folder / "model").mkdir()
    engine = HostileEngine(folder / "model")
    async with TestServer(engine.app()) as server:
        roles = {"kind": kind, "base_urls": [str(server.make_url("/v1"))], "model": "hostile"}
        if kind == "tokens":
            roles["tokenizer"] = str(folder / "model")
        sampling = {"top_k": 0}
        document = {
            "dataset": "hostile", "problems": {"path": str(written(folder, problems))},
            "actor": roles, "critic": roles, "prompts": "standard",
            "actor_sampling": sampling, "critic_sampling": sampling,
            "attempts": 1, "cot_samples": 0, "filters": {"off": ["uses_tool"]}, **settings,
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(document))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flows", "generate", "--config", str(folder / "run.json"),
            "--store", str(folder / "store"), "--json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
    assert process.returncode == 0, (out + err)[-4000:].decode()
    rows = list(Store(folder / "store").version("hostile").read())
    return json.loads(out), rows, engine


@pytest.mark.parametrize("completions", [COMPLETIONS, pytest.param(500, marks=pytest.mark.slow)])
async def test_no_completion_ends_a_generation(tmp_path: Path, completions: int) -> None:
    loop = {"steps": 2, "tool_rounds": 1}
    report, rows, engine = await generated(tmp_path, "chat", completions, loop=loop)
    assert len(engine.calls) >= completions
    assert len(rows) == report["made_now"] == report["settled"] == completions
    asked = {int(row.problem.question.split("#")[1]) % len(WRITINGS) for row in rows}
    assert asked == set(range(len(WRITINGS)))
    assert any(row.kept for row in rows), "the honest ones"
    broken = [row for row in rows if row.ending is Ending.INTERNAL_ERROR]
    assert all(row.verdict is None and row.reward is None and not row.kept for row in broken)
    assert not [row for row in rows if row.ending is Ending.ENGINE_ERROR], Counter(
        row.error for row in rows
    )


@pytest.mark.slow
async def test_no_completion_in_token_ids_ends_a_generation(tmp_path: Path) -> None:
    loop = {"steps": 2, "tool_rounds": 1, "tokens": 3_000_000, "step_tokens": 1_500_000}
    _, rows, _ = await generated(tmp_path, "tokens", len(WRITINGS), loop=loop)
    assert len(rows) == len(WRITINGS)
    assert all(len(row.tokens.token_ids) == len(row.tokens.loss_mask) for row in rows)
    assert max(len(row.tokens.token_ids) for row in rows) > 1_000_000
