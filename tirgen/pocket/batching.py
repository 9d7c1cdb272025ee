"""Continuous batching: one thread that steps OpenVINO GenAI's paged-attention pipeline."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from tirgen.pocket.generation import Generation, GenerationRequest
from tirgen.pocket.graph import Qwen3Config, write_ir
from tirgen.pocket.runtime import genai, ov
from tirgen.pocket.vocabulary import Vocabulary

_BLOCK = 32
"""Tokens in one block of the CPU plug-in's key-value cache."""


class ContinuousBatchingEngine:
    """Generates for many requests at once; a new one joins at the next token of the others.

    All methods are for the event loop it was made on. The pipeline itself is touched by the
    engine's own thread only.
    """

    def __init__(self, model_dir: Path, *, threads: int = 1, max_sequences: int = 128) -> None:
        """Load the model; raises `ModelUnsupported` when it is not a dense Qwen3."""
        self.config = Qwen3Config.read(model_dir)
        self.vocabulary = Vocabulary(model_dir)
        self.failure: str | None = None
        """Why the pipeline can generate no more; None while it can."""
        self.finished: Counter[str] = Counter()
        """Generations by how they ended: stop, length, abort or error."""
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.cache_usage = 0.0
        """Share of the key-value cache in use, 0 to 1."""
        self._eos = frozenset(self.config.eos_token_ids)
        self._spoken = {
            skip: self.vocabulary.spoken(self.config.vocab_size, skip_special=skip)
            for skip in (False, True)
        }
        self._pipeline = _open_pipeline(model_dir, self.config, threads, max_sequences)
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[Generation | None] = SimpleQueue()
        self._live: list[tuple[Generation, Any]] = []
        self._last_id = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="pocket-engine", daemon=True)
        self._thread.start()

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
        )
        self._inbox.put(generation)
        if self._closing:  # the thread may have looked for the last time
            self._refuse_inbox()
        return generation

    def cancel(self, generation: Generation) -> None:
        """Stop generating and free the slot; nothing happens to one that is done."""
        generation.cancelled = True

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
                generation = self._inbox.get(block)
            except Empty:
                return True
            block = False
            if generation is not None:
                self._add(generation)
                block = not self._live
        return False

    def _add(self, generation: Generation) -> None:
        self._last_id += 1
        prompt = ov.Tensor(np.array([generation.request.prompt], np.int64))
        try:
            handle = self._pipeline.add_request(
                self._last_id, prompt, self._native(generation.request)
            )
        except RuntimeError as error:
            generation.failure = f"the OpenVINO pipeline refused the request: {error}"
            self._tell([generation])
            return
        self.prompt_tokens += len(generation.request.prompt)
        self._live.append((generation, handle))

    def _native(self, request: GenerationRequest) -> Any:
        """The request in OpenVINO's terms; stop strings stay ours, it has no tokenizer."""
        native = genai.GenerationConfig()
        native.set_eos_token_id(self.config.eos_token_ids[0])
        native.stop_token_ids = set(self._eos | request.stop_token_ids)
        native.ignore_eos = request.ignore_eos
        native.min_new_tokens = request.min_tokens
        native.max_new_tokens = request.max_tokens
        native.logprobs = 1
        native.rng_seed = request.seed
        native.do_sample = request.temperature > 0
        if native.do_sample:
            native.temperature = request.temperature
            native.top_p = request.top_p
            if request.top_k:  # set to the whole vocabulary it would still sort it
                native.top_k = request.top_k
            native.min_p = request.min_p
        return native

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
                output.generated_ids, output.generated_log_probs, strict=True
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
        self._fail([generation for generation in waiting if generation is not None])

    def _fail(self, generations: list[Generation]) -> None:
        for generation in generations:
            generation.failure = self.failure or "the server is shutting down"
        self._tell(generations)


def _open_pipeline(model_dir: Path, config: Qwen3Config, threads: int, max_sequences: int) -> Any:
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.max_num_seqs = max_sequences
    scheduler.max_num_batched_tokens = 2048
    scheduler.num_kv_blocks = max_sequences * -(-config.context // _BLOCK)
    properties = {
        # The defaults cost log-probabilities 2.6e-3 of accuracy; these bring it to 7e-6.
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": "f32",
        "INFERENCE_NUM_THREADS": threads,
        # By default one per core, woken for every token of every sequence.
        "sampler_num_threads": threads,
    }
    # The pipeline opens a directory, not a graph in memory; it needs it only while opening.
    with tempfile.TemporaryDirectory(prefix="tirgen-pocket-") as directory:
        write_ir(model_dir, Path(directory))
        return genai.ContinuousBatchingPipeline(directory, scheduler, "CPU", properties)


def _ending(generation: Generation) -> str:
    if generation.finish is not None:
        return generation.finish.value
    return "abort" if generation.cancelled else "error"


def _wake(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()
