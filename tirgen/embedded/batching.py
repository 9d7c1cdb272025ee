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

from tirgen.embedded.architecture import ModelShape
from tirgen.embedded.generation import GenerationRequest, SampledSequence
from tirgen.embedded.pipeline import (
    Graph,
    native,
    open_pipeline,
    read_config,
    read_replacement,
)
from tirgen.embedded.runtime import genai, ov
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.embedded.tokenizer import Vocabulary

FIRST_VERSION = "default"
"""vLLM's name for the weights with which a server started."""
UNLABELLED = "unlabelled"
"""The name of reloaded weights until they get one."""


class EngineStopped(Exception):
    """The engine's thread has ended, so its pipeline cannot be replaced."""


@dataclass(frozen=True, slots=True)
class _Replacement:
    """A new pipeline for the engine's thread."""

    pipeline: Any
    done: asyncio.Future[None]


class ContinuousBatchingEngine:
    """Generates for many requests at once; a new request joins at the next token of the others.

    Call all methods on the event loop on which the engine was created. Only the engine's own thread
    uses the pipeline.
    """

    def __init__(self, model_dir: Path, settings: ServingSettings | None = None) -> None:
        """Load the model; raises `ModelUnsupported` when it cannot be served."""
        self._settings = settings or ServingSettings()
        config = read_config(model_dir, self._settings)
        self.vocabulary = Vocabulary(model_dir)
        self.weight_version = FIRST_VERSION
        """The name of the weights, set by the client that loads others (vLLM's term)."""
        self.failure: str | None = None
        """Why the pipeline cannot generate any more; None while it can."""
        self.finished: Counter[str] = Counter()
        """Number of generations by how they ended: stop, length, abort or error."""
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.cache_usage = 0.0
        """Share of the key-value cache that is in use, 0 to 1."""
        self._graph = Graph(model_dir, config, self._settings)
        self._eos = frozenset(self.config.eos_token_ids)
        self._token_texts = {
            skip: self.vocabulary.token_texts(self.config.vocab_size, skip_special=skip)
            for skip in (False, True)
        }
        self._pipeline = open_pipeline(self._graph, self._settings)
        self._cached = False
        """The pipeline has had a prompt, so its prefix cache can have content."""
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[SampledSequence | _Replacement | None] = SimpleQueue()
        self._live: list[tuple[SampledSequence, Any]] = []
        self._last_id = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="embedded-engine", daemon=True)
        self._thread.start()

    @property
    def config(self) -> ModelShape:
        return self._graph.config

    @property
    def running(self) -> int:
        return len(self._live)

    @property
    def waiting(self) -> int:
        return self._inbox.qsize()

    def submit(
        self, request: GenerationRequest, progress: asyncio.Event, *, streaming: bool = False
    ) -> SampledSequence:
        """Start generating; `progress` is set whenever there is something new to read."""
        generation = SampledSequence(
            request,
            token_texts=self._token_texts[request.skip_special_tokens],
            eos=self._eos,
            progress=progress,
            streaming=streaming,
            weight_version=self.weight_version,
        )
        self._inbox.put(generation)
        if self._closing:  # the thread may never look into its inbox again
            self._refuse_inbox()
        return generation

    def cancel(self, generation: SampledSequence) -> None:
        """Stop generating and free the slot; no effect on a finished generation."""
        generation.cancelled = True

    async def reload(self, model_dir: Path) -> None:
        """Replace the weights by those in `model_dir`, with all caches empty.

        Call it while nothing is being generated. Raises `ModelUnsupported`, and keeps the old
        weights, when the new ones do not fit (`read_replacement`); `EngineStopped` when the engine
        has failed or is closing.
        """
        graph = await asyncio.to_thread(
            read_replacement, model_dir, self.config, self.vocabulary, self._settings
        )
        await self._replace(graph, UNLABELLED)

    async def reset_prefix_cache(self) -> None:
        """Empty the prefix cache, under the same condition as `reload`. Raises `EngineStopped`."""
        if self._cached:
            await self._replace(self._graph, self.weight_version)

    async def _replace(self, graph: Graph, version: str) -> None:
        """Open a new pipeline beside the old one, for the engine's thread to switch to."""
        pipeline = await asyncio.to_thread(open_pipeline, graph, self._settings)
        replacement = _Replacement(pipeline, self._loop.create_future())
        self._inbox.put(replacement)
        self._graph, self.weight_version = graph, version
        if self._closing:
            self._refuse_inbox()
        await asyncio.shield(replacement.done)  # it happens even if the caller is cancelled

    def close(self) -> None:
        """Abort all generations and end the thread."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            try:
                self._pipeline.step()
            except RuntimeError as error:  # every OpenVINO error arrives as this
                self.failure = f"the OpenVINO pipeline failed: {error}"
                break
            self._collect()
        self._closing = True
        self._abort_all()

    def _admit(self) -> bool:
        """Take the inbox, waiting for it while nothing runs; False when the thread must end."""
        block = not self._live and not self._pipeline.has_non_finished_requests()
        while not self._closing:
            try:
                arrived = self._inbox.get(block)
            except Empty:
                return True
            block = False
            if isinstance(arrived, _Replacement):
                self._switch_to(arrived)
                block = True
            elif arrived is not None:
                self._add(arrived)
                block = not self._live
        return False

    def _switch_to(self, replacement: _Replacement) -> None:
        """Generations that still run have no client any more: they end with the old pipeline."""
        for generation, _ in self._live:
            generation.failure = "cancelled"
        self._publish([generation for generation, _ in self._live])
        self._live = []
        self._pipeline, self._cached = replacement.pipeline, False
        self._answer(replacement, None)

    def _answer(self, replacement: _Replacement, error: EngineStopped | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, replacement.done, error)

    def _add(self, generation: SampledSequence) -> None:
        self._last_id += 1
        prompt = ov.Tensor(np.array([self.config.graph_ids(generation.request.prompt)], np.int64))
        try:
            request = native(generation.request, self.config)
            handle = self._pipeline.add_request(self._last_id, prompt, request)
        except RuntimeError as error:
            generation.failure = f"the OpenVINO pipeline refused the request: {error}"
            self._publish([generation])
            return
        self._cached = True
        self.prompt_tokens += len(generation.request.prompt)
        self._live.append((generation, handle))

    def _collect(self) -> None:
        """Give every live generation its new tokens and drop the finished ones."""
        still, changed = [], []
        for generation, handle in self._live:
            grown = self._advance(generation, handle)
            if not generation.done:
                still.append((generation, handle))
            if generation.done or (generation.streaming and grown):
                changed.append(generation)
        self._live = still
        self.cache_usage = self._pipeline.get_metrics().cache_usage / 100
        self._publish(changed)

    def _advance(self, generation: SampledSequence, handle: Any) -> bool:
        """Give one generation the tokens of this step and end it if it must end; whether it grew.

        This runs for every token, so it calls the pipeline as little as possible.
        """
        grown: bool = handle.can_read()
        if grown:
            (output,) = handle.read().values()
            for token, logprob in zip(
                self.config.graph_ids(output.generated_ids), output.generated_log_probs, strict=True
            ):
                self.generation_tokens += 1
                if generation.feed(token, logprob):
                    handle.stop()
                    return True
        elif handle.get_status() != genai.GenerationStatus.RUNNING:
            generation.failure = f"the OpenVINO pipeline ended it: {handle.get_status().name}"
        if generation.cancelled and not generation.done:
            generation.failure = "cancelled"
            handle.cancel()
        return grown

    def _publish(self, changed: list[SampledSequence]) -> None:
        """Count finished generations and wake all readers, once per step."""
        for generation in changed:
            if generation.done:
                self.finished[_ending(generation)] += 1
        if changed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_wake, [generation.progress for generation in changed])

    def _abort_all(self) -> None:
        """Fail every remaining request, so that no reader waits forever."""
        live, self._live = self._live, []
        for _, handle in live:
            handle.cancel()
        if live and self.failure is None:
            self._pipeline.step()  # only a step frees the memory of cancelled requests
        self._fail([generation for generation, _ in live])
        self._refuse_inbox()

    def _refuse_inbox(self) -> None:
        waiting = []
        with suppress(Empty):
            while True:
                waiting.append(self._inbox.get_nowait())
        self._fail([arrived for arrived in waiting if isinstance(arrived, SampledSequence)])
        for arrived in waiting:
            if isinstance(arrived, _Replacement):
                self._answer(arrived, EngineStopped(self._why_stopped()))

    def _fail(self, generations: list[SampledSequence]) -> None:
        for generation in generations:
            generation.failure = self._why_stopped()
        self._publish(generations)

    def _why_stopped(self) -> str:
        return self.failure or "the server is shutting down"


def _ending(generation: SampledSequence) -> str:
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
