"""Continuous batching: one thread that steps OpenVINO GenAI's paged-attention pipeline."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from tirgen.embedded.architecture import ModelConfig
from tirgen.embedded.generation import Generation, GenerationRequest
from tirgen.embedded.pipeline import (
    Graph,
    native,
    open_pipeline,
    read_config,
    read_sibling,
)
from tirgen.embedded.runtime import genai, ov
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.embedded.tokenizer import Vocabulary

FIRST_VERSION = "default"
"""What vLLM calls the weights a server started with."""
UNLABELLED = "unlabelled"
"""Weights that were loaded into a running engine and not named yet."""


class EngineStopped(Exception):
    """The engine's thread has ended; no pipeline can be put into it any more."""


@dataclass(frozen=True, slots=True)
class _Replacement:
    """A new pipeline on its way to the engine's thread."""

    pipeline: Any
    done: asyncio.Future[None]


class ContinuousBatchingEngine:
    """Generates for many requests at once; a new one joins at the next token of the others.

    All methods are for the event loop it was made on. The pipeline itself is touched by the
    engine's own thread only.
    """

    def __init__(self, model_dir: Path, settings: ServingSettings | None = None) -> None:
        """Load the model; raises `ModelUnsupported` when it cannot be served."""
        self._settings = settings or ServingSettings()
        config = read_config(model_dir, self._settings)
        self.vocabulary = Vocabulary(model_dir)
        self.weight_version = FIRST_VERSION
        """What the weights are called; whoever loads others says it (vLLM's term)."""
        self.failure: str | None = None
        """Why the pipeline can generate no more; None while it can."""
        self.finished: Counter[str] = Counter()
        """Generations by how they ended: stop, length, abort or error."""
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.cache_usage = 0.0
        """Share of the key-value cache in use, 0 to 1."""
        self._graph = Graph(model_dir, config, self._settings)
        self._eos = frozenset(self.config.eos_token_ids)
        self._spoken = {
            skip: self.vocabulary.spoken(self.config.vocab_size, skip_special=skip)
            for skip in (False, True)
        }
        self._pipeline = open_pipeline(self._graph, self._settings)
        self._cached = False
        """The pipeline has seen a prompt, so its prefix cache may hold something."""
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[Generation | _Replacement | None] = SimpleQueue()
        self._live: list[tuple[Generation, Any]] = []
        self._last_id = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="pocket-engine", daemon=True)
        self._thread.start()

    @property
    def config(self) -> ModelConfig:
        return self._graph.config

    @property
    def running(self) -> int:
        return len(self._live)

    @property
    def waiting(self) -> int:
        return self._inbox.qsize()

    def submit(
        self, request: GenerationRequest, progress: asyncio.Event, *, streaming: bool = False
    ) -> Generation:
        """Start generating; `progress` is set whenever there is something new to look at."""
        generation = Generation(
            request,
            spoken=self._spoken[request.skip_special_tokens],
            eos=self._eos,
            progress=progress,
            streaming=streaming,
            weight_version=self.weight_version,
        )
        self._inbox.put(generation)
        if self._closing:  # the thread may have looked for the last time
            self._refuse_inbox()
        return generation

    def cancel(self, generation: Generation) -> None:
        """Stop generating and free the slot; nothing happens to one that is done."""
        generation.cancelled = True

    async def reload(self, model_dir: Path) -> None:
        """From now on generate with the weights in `model_dir`, all caches empty.

        To be called while nothing is being generated. Raises `ModelUnsupported`, and keeps the old
        weights, when they are no sibling of the present ones (`read_sibling`); `EngineStopped`
        when the engine has failed or is closing.
        """
        graph = await asyncio.to_thread(
            read_sibling, model_dir, self.config, self.vocabulary, self._settings
        )
        await self._replace(graph, UNLABELLED)

    async def reset_prefix_cache(self) -> None:
        """Forget all prompts, under the same condition as `reload`. Raises `EngineStopped`."""
        if self._cached:
            await self._replace(self._graph, self.weight_version)

    async def _replace(self, graph: Graph, version: str) -> None:
        """Open a pipeline beside the old one, and let the engine's thread change over."""
        pipeline = await asyncio.to_thread(open_pipeline, graph, self._settings)
        replacement = _Replacement(pipeline, self._loop.create_future())
        self._inbox.put(replacement)
        self._graph, self.weight_version = graph, version
        if self._closing:
            self._refuse_inbox()
        await asyncio.shield(replacement.done)  # it takes place even if the caller is gone

    def close(self) -> None:
        """Abort what runs and end the thread."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            try:
                self._pipeline.step()
            except RuntimeError as error:  # whatever OpenVINO throws, it throws as this
                self.failure = f"the OpenVINO pipeline failed: {error}"
                break
            self._collect()
        self._closing = True
        self._abort_all()

    def _admit(self) -> bool:
        """Add what has arrived, waiting for it while nothing runs; False when it is time to end."""
        block = not self._live and not self._pipeline.has_non_finished_requests()
        while not self._closing:
            try:
                arrived = self._inbox.get(block)
            except Empty:
                return True
            block = False
            if isinstance(arrived, _Replacement):
                self._change_over(arrived)
                block = True
            elif arrived is not None:
                self._add(arrived)
                block = not self._live
        return False

    def _change_over(self, replacement: _Replacement) -> None:
        """What still runs, whose clients have hung up, goes with the old pipeline."""
        for generation, _ in self._live:
            generation.failure = "cancelled"
        self._tell([generation for generation, _ in self._live])
        self._live = []
        self._pipeline, self._cached = replacement.pipeline, False
        self._answer(replacement, None)

    def _answer(self, replacement: _Replacement, error: EngineStopped | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, replacement.done, error)

    def _add(self, generation: Generation) -> None:
        self._last_id += 1
        prompt = ov.Tensor(np.array([self.config.turn(generation.request.prompt)], np.int64))
        try:
            request = native(generation.request, self.config)
            handle = self._pipeline.add_request(self._last_id, prompt, request)
        except RuntimeError as error:
            generation.failure = f"the OpenVINO pipeline refused the request: {error}"
            self._tell([generation])
            return
        self._cached = True
        self.prompt_tokens += len(generation.request.prompt)
        self._live.append((generation, handle))

    def _collect(self) -> None:
        """Hand every live generation its new tokens and let go of those that are done."""
        still, news = [], []
        for generation, handle in self._live:
            grown = self._advance(generation, handle)
            if not generation.done:
                still.append((generation, handle))
            if generation.done or (generation.streaming and grown):
                news.append(generation)
        self._live = still
        self.cache_usage = self._pipeline.get_metrics().cache_usage / 100
        self._tell(news)

    def _advance(self, generation: Generation, handle: Any) -> bool:
        """Feed one generation what the step gave it, end it where it has to end; whether it grew.

        This runs for every token, so it asks the pipeline as little as it can.
        """
        grown: bool = handle.can_read()
        if grown:
            (output,) = handle.read().values()
            for token, logprob in zip(
                self.config.turn(output.generated_ids), output.generated_log_probs, strict=True
            ):
                self.generation_tokens += 1
                if generation.feed(token, logprob):
                    handle.stop()
                    return True
        elif handle.get_status() != genai.GenerationStatus.RUNNING:
            generation.failure = f"the OpenVINO pipeline gave up: {handle.get_status().name}"
        if generation.cancelled and not generation.done:
            generation.failure = "cancelled"
            handle.cancel()
        return grown

    def _tell(self, news: list[Generation]) -> None:
        """Count what has ended and wake the readers, once a step for all of them together."""
        for generation in news:
            if generation.done:
                self.finished[_ending(generation)] += 1
        if news and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_wake, [generation.progress for generation in news])

    def _abort_all(self) -> None:
        """Fail everything that still waits, so that no reader waits for ever."""
        live, self._live = self._live, []
        for _, handle in live:
            handle.cancel()
        if live and self.failure is None:
            self._pipeline.step()  # only a step gives the cancelled ones' memory back
        self._fail([generation for generation, _ in live])
        self._refuse_inbox()

    def _refuse_inbox(self) -> None:
        waiting = []
        with suppress(Empty):
            while True:
                waiting.append(self._inbox.get_nowait())
        self._fail([arrived for arrived in waiting if isinstance(arrived, Generation)])
        for arrived in waiting:
            if isinstance(arrived, _Replacement):
                self._answer(arrived, EngineStopped(self._why_stopped()))

    def _fail(self, generations: list[Generation]) -> None:
        for generation in generations:
            generation.failure = self._why_stopped()
        self._tell(generations)

    def _why_stopped(self) -> str:
        return self.failure or "the server is shutting down"


def _ending(generation: Generation) -> str:
    if generation.finish is not None:
        return generation.finish.value
    return "abort" if generation.cancelled else "error"


def _wake(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()


def _settle(future: asyncio.Future[None], error: EngineStopped | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
