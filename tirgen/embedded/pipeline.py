"""OpenVINO GenAI's continuous batching: a model's graph opened, and requests in its terms."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Final

from tirgen.embedded.architecture import ModelConfig, ModelUnsupported
from tirgen.embedded.generation import GenerationRequest
from tirgen.embedded.graph import write_ir
from tirgen.embedded.precision import cached_bytes, properties
from tirgen.embedded.runtime import genai
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.embedded.tokenizer import Vocabulary

_BLOCK: Final = 32
"""Tokens in one block of the CPU plug-in's key-value cache."""


class Graph:
    """A model written for OpenVINO in a folder of its own, which goes when nothing uses it.

    Kept as long as the model is served, because the folder it was read from may change.
    """

    def __init__(self, model_dir: Path, config: ModelConfig, settings: ServingSettings) -> None:
        """Raises `ModelUnsupported`."""
        self.config = config
        self.folder = Path(tempfile.mkdtemp(prefix="tirgen-graph-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        write_ir(model_dir, config, self.folder, settings.precision)


def read_config(model_dir: Path, settings: ServingSettings) -> ModelConfig:
    """The model's configuration, its context as long as it is served. Raises `ModelUnsupported`."""
    config = ModelConfig.read(model_dir)
    if settings.context is None:
        return config
    if settings.context > config.context:
        raise ModelUnsupported(
            f"the model was made for {config.context} tokens; it cannot be served with "
            f"{settings.context}"
        )
    return config.model_copy(update={"context": settings.context})


def read_sibling(
    model_dir: Path, config: ModelConfig, vocabulary: Vocabulary, settings: ServingSettings
) -> Graph:
    """A model that may take the place of a served one without its clients noticing but by weights.

    Raises `ModelUnsupported` when it cannot be served, or has other tokens or another context.
    """
    sibling = read_config(model_dir, settings)
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
    return Graph(model_dir, sibling, settings)


def open_pipeline(graph: Graph, settings: ServingSettings) -> Any:
    """A pipeline with an empty key-value cache. Raises `ModelUnsupported`.

    Where the cache cannot hold `max_sequences` whole contexts, a sequence that finds it full is
    put back and computed again later.
    """
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.max_num_seqs = settings.max_sequences
    scheduler.max_num_batched_tokens = 2048
    scheduler.num_kv_blocks = _cache_blocks(graph.config, settings)
    options = properties(settings.precision) | {
        "INFERENCE_NUM_THREADS": settings.threads,
        # By default one per core, woken for every token of every sequence.
        "sampler_num_threads": settings.threads,
    }
    return genai.ContinuousBatchingPipeline(str(graph.folder), scheduler, "CPU", options)


def _cache_blocks(config: ModelConfig, settings: ServingSettings) -> int:
    one_context = -(-config.context // _BLOCK)
    block_gib = _BLOCK * config.cached_values * cached_bytes(settings.precision) / 2**30
    affordable = int(settings.cache_gib / block_gib)
    if affordable < one_context:
        raise ModelUnsupported(
            f"one context of {config.context} tokens needs {one_context * block_gib:.2f} GiB of "
            f"keys and values, more than the {settings.cache_gib:g} GiB given: raise --cache-gib "
            "or lower --context"
        )
    return min(settings.max_sequences * one_context, affordable)


def native(request: GenerationRequest, model: ModelConfig) -> Any:
    """The request in OpenVINO's terms; stop strings stay ours, it has no tokenizer."""
    config = genai.GenerationConfig()
    ending = model.turn(model.eos_token_ids)
    config.set_eos_token_id(ending[0])
    config.stop_token_ids = {*ending, *model.turn(request.stop_token_ids)}
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
