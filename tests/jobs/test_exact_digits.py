"""`exact_digits` in every job that makes rows, with a model that always writes one decimal."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from storage.datasets import Store
from storage.versions import DatasetVersion
from tests.jobs.hostile_engine import HostileEngine
from tirgen.jobs.evaluate import evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.rollout import collect_rollouts
from tirgen.jobs.rollout_config import RolloutConfig


async def _generated(engine: dict[str, Any], problems: str, store: Store, **given: Any) -> Any:
    roles = {"actor": engine, "critic": engine, "problems": {"path": problems}}
    limits = {"attempts": 1, "cot_samples": 0, "prompts": "standard"}
    return (await generate(GenerateConfig(**roles, **limits, **given), store)).version


async def _collected(engine: dict[str, Any], problems: str, store: Store, **given: Any) -> Any:
    roles = {"policy": engine, "problems": {"path": problems}, "prompts": "standard"}
    return (await collect_rollouts(RolloutConfig(**roles, samples=2, **given), store)).version


async def _evaluated(engine: dict[str, Any], problems: str, store: Store, **given: Any) -> Any:
    roles = {"policy": engine, "benchmarks": [{"path": problems}], "prompts": "standard"}
    return (await evaluate(EvaluationConfig(**roles, samples=2, **given), store)).version


@pytest.mark.parametrize("make", [_generated, _collected, _evaluated])
async def test_a_job_judges_by_its_exact_digits_and_is_another_job_under_others(
    tmp_path: Path, make: Callable[..., Awaitable[DatasetVersion]]
) -> None:
    problems = tmp_path / "thirds.jsonl"
    problems.write_text(json.dumps({"question": "What is 1 / 3?", "answer": "1/3"}) + "\n")
    engine = HostileEngine(tmp_path)
    engine.write = lambda prompt: "It is \\boxed{0.333333}."
    store = Store(tmp_path / "store")
    async with TestServer(engine.app()) as server:
        role = {"kind": "tokens", "base_urls": [str(server.make_url("/v1"))], "model": "hostile"}
        role["tokenizer"] = str(tmp_path)
        strict = await make(role, str(problems), store)
        lenient = await make(role, str(problems), store, exact_digits=6)
    assert {row.correct for row in strict.read()} == {False}
    assert {row.correct for row in lenient.read()} == {True}
