"""The engine without HTTP: how it ends, and what those who wait are told."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tirgen.embedded.batching import ContinuousBatchingEngine
from tirgen.embedded.generation import GenerationRequest, SampledSequence
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.engine.protocol import Finish

REQUEST = GenerationRequest(prompt=(10, 11), max_tokens=400, seed=1, ignore_eos=True)


@pytest.fixture
async def engine(tiny_model: Path) -> AsyncIterator[ContinuousBatchingEngine]:
    engine = ContinuousBatchingEngine(tiny_model)
    yield engine
    await asyncio.to_thread(engine.close)


async def done(engine: ContinuousBatchingEngine, request: GenerationRequest) -> SampledSequence:
    progress = asyncio.Event()
    generation = engine.submit(request, progress)
    await asyncio.wait_for(progress.wait(), 10)
    return generation


async def test_a_request_is_generated(engine: ContinuousBatchingEngine) -> None:
    generation = await done(engine, REQUEST)
    assert generation.finish is Finish.LENGTH
    assert len(generation.token_ids) == len(generation.logprobs) == 400
    assert engine.generation_tokens == 400


class SlowPipeline:
    """The real pipeline, slow enough that nothing ends before a test has looked."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def step(self) -> None:
        time.sleep(0.02)
        self._pipeline.step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)


async def test_closing_tells_those_who_wait(engine: ContinuousBatchingEngine) -> None:
    engine._pipeline = SlowPipeline(engine._pipeline)
    progress = asyncio.Event()
    running = [engine.submit(REQUEST, progress, streaming=True) for _ in range(50)]
    await asyncio.wait_for(progress.wait(), 10)
    engine.close()
    assert {generation.failure for generation in running} == {"the server is shutting down"}
    assert any(generation.token_ids for generation in running)


async def test_a_closed_engine_refuses_at_once(engine: ContinuousBatchingEngine) -> None:
    engine.close()
    assert (await done(engine, REQUEST)).failure == "the server is shutting down"


class BrokenPipeline:
    """Takes requests and fails as OpenVINO does."""

    def add_request(self, *_: object) -> object:
        return SimpleNamespace(cancel=lambda: None)

    def has_non_finished_requests(self) -> bool:
        return False

    def step(self) -> None:
        raise RuntimeError("out of memory")


async def test_a_broken_pipeline_fails_all_and_says_why(tiny_model: Path) -> None:
    engine = ContinuousBatchingEngine(tiny_model)
    engine._pipeline = BrokenPipeline()
    assert "out of memory" in str((await done(engine, REQUEST)).failure)
    assert "out of memory" in str((await done(engine, REQUEST)).failure)
    assert "out of memory" in str(engine.failure)
    engine.close()


async def test_a_cache_too_small_for_all_still_gives_each_its_own(tiny_model: Path) -> None:
    """Two slots' worth of cache: sequences are preempted and computed again, tokens unchanged."""
    roomy = ContinuousBatchingEngine(tiny_model)
    tight = ContinuousBatchingEngine(tiny_model, ServingSettings(max_sequences=2))
    requests = [
        GenerationRequest(prompt=(10 + i,) * 30, max_tokens=300, seed=i, ignore_eos=True)
        for i in range(6)
    ]
    sampled = []
    for engine in (roomy, tight):
        generations = await asyncio.gather(*(done(engine, request) for request in requests))
        sampled.append([generation.token_ids for generation in generations])
        engine.close()
    assert sampled[0] == sampled[1]
