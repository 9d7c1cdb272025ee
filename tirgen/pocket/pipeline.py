"""OpenVINO GenAI's continuous batching: a model's graph opened, and requests in its terms."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tirgen.pocket.generation import GenerationRequest
from tirgen.pocket.graph import write_ir
from tirgen.pocket.qwen3 import ModelUnsupported, Qwen3Config
from tirgen.pocket.runtime import genai
from tirgen.pocket.vocabulary import Vocabulary

Graph = Mapping[str, bytes]
"""The files of an OpenVINO model by name. Kept, because a folder may change after it was read."""

_BLOCK = 32
"""Tokens in one block of the CPU plug-in's key-value cache."""


def read_graph(model_dir: Path) -> Graph:
    """The model in `model_dir` as a graph. Raises `ModelUnsupported`."""
    with tempfile.TemporaryDirectory(prefix="tirgen-pocket-") as directory:
        write_ir(model_dir, Path(directory))
        return {file.name: file.read_bytes() for file in Path(directory).iterdir()}


def read_sibling(
    model_dir: Path, config: Qwen3Config, vocabulary: Vocabulary
) -> tuple[Qwen3Config, Graph]:
    """A model that may take the place of a served one without its clients noticing but by weights.

    Raises `ModelUnsupported` when it is no dense Qwen3, or has other tokens or another context.
    """
    sibling = Qwen3Config.read(model_dir)
    for name in ("vocab_size", "eos_token_ids", "context"):
        served, offered = getattr(config, name), getattr(sibling, name)
        if served != offered:
            raise ModelUnsupported(
                f"{model_dir} has {name} {offered}, the served model {served}; start a server of "
                "its own for it"
            )
    if not Vocabulary(model_dir).same_tokens(vocabulary):
        raise ModelUnsupported(
            f"the tokenizer of {model_dir} is not that of the served model; start a server of its "
            "own for it"
        )
    return sibling, read_graph(model_dir)


def open_pipeline(graph: Graph, config: Qwen3Config, threads: int, max_sequences: int) -> Any:
    """A pipeline whose key-value cache, empty, has room for `max_sequences` whole contexts."""
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
        for name, content in graph.items():
            (Path(directory) / name).write_bytes(content)
        return genai.ContinuousBatchingPipeline(directory, scheduler, "CPU", properties)


def native(request: GenerationRequest, eos: frozenset[int], end_of_turn: int) -> Any:
    """The request in OpenVINO's terms; stop strings stay ours, it has no tokenizer."""
    config = genai.GenerationConfig()
    config.set_eos_token_id(end_of_turn)
    config.stop_token_ids = set(eos | request.stop_token_ids)
    config.ignore_eos = request.ignore_eos
    config.min_new_tokens = request.min_tokens
    config.max_new_tokens = request.max_tokens
    config.logprobs = 1
    config.rng_seed = request.seed
    config.do_sample = request.temperature > 0
    if config.do_sample:
        config.temperature = request.temperature
        config.top_p = request.top_p
        if request.top_k:  # set to the whole vocabulary it would still sort it
            config.top_k = request.top_k
        config.min_p = request.min_p
    return config
