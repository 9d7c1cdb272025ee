"""Opens OpenVINO GenAI's continuous batching for a model, and translates requests for it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Final

from tirgen.embedded.architecture import ModelShape, ModelUnsupported
from tirgen.embedded.generation import GenerationRequest
from tirgen.embedded.graph import write_ir
from tirgen.embedded.runtime import genai, ov
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.embedded.tokenizer import Vocabulary
from tirgen.engine.engine_config import Precision

_BLOCK: Final = 32
"""Tokens per block of the CPU plug-in's key-value cache."""


class Graph:
    """A model written for OpenVINO into a temporary folder, deleted when nothing uses it.

    It is kept while the model is served, because the model's own folder can change.
    """

    def __init__(self, model_dir: Path, config: ModelShape, settings: ServingSettings) -> None:
        """Raises `ModelUnsupported`."""
        self.config = config
        self.folder = Path(tempfile.mkdtemp(prefix="tirgen-graph-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        write_ir(model_dir, config, self.folder, settings.precision)


def read_config(model_dir: Path, settings: ServingSettings) -> ModelShape:
    """The model's configuration with the context to serve. Raises `ModelUnsupported`."""
    config = ModelShape.read(model_dir)
    if settings.context is None:
        return config
    if settings.context > config.context:
        raise ModelUnsupported(
            f"the model was made for {config.context} tokens; it cannot be served with "
            f"{settings.context}"
        )
    return config.model_copy(update={"context": settings.context})


def read_replacement(
    model_dir: Path, config: ModelShape, vocabulary: Vocabulary, settings: ServingSettings
) -> Graph:
    """A model that can replace a served one: for its clients only the weights change.

    Raises `ModelUnsupported` when it cannot be served, or has other tokens or another context.
    """
    replacement = read_config(model_dir, settings)
    for name in ("vocab_size", "eos_token_ids", "context"):
        served, offered = getattr(config, name), getattr(replacement, name)
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
    return Graph(model_dir, replacement, settings)


def open_pipeline(graph: Graph, settings: ServingSettings) -> Any:
    """A pipeline with an empty key-value cache. Raises `ModelUnsupported`.

    If the cache cannot hold `max_sequences` whole contexts, a sequence that finds it full is
    stopped and computed again later.
    """
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.max_num_seqs = settings.max_sequences
    scheduler.max_num_batched_tokens = 2048
    scheduler.num_kv_blocks = _cache_blocks(graph.config, settings)
    options = _properties(settings.precision) | {
        "INFERENCE_NUM_THREADS": settings.threads,
        # The default is one per core, woken for every token of every sequence.
        "sampler_num_threads": settings.threads,
    }
    return genai.ContinuousBatchingPipeline(str(graph.folder), scheduler, "CPU", options)


def _cache_blocks(config: ModelShape, settings: ServingSettings) -> int:
    one_context = -(-config.context // _BLOCK)
    block_gib = _BLOCK * config.cached_values * _cached_bytes(settings.precision) / 2**30
    affordable = int(settings.cache_gib / block_gib)
    if affordable < one_context:
        raise ModelUnsupported(
            f"one context of {config.context} tokens needs {one_context * block_gib:.2f} GiB of "
            f"keys and values, more than the {settings.cache_gib:g} GiB given: raise --cache-gib "
            "or lower --context"
        )
    return min(settings.max_sequences * one_context, affordable)


def _cached_bytes(precision: Precision) -> int:
    """Bytes per number in the cache of keys and values."""
    return 2 if precision is Precision.BFLOAT16 else 4


def _properties(precision: Precision) -> dict[str, Any]:
    """OpenVINO's settings. Raises `ModelUnsupported` if the processor lacks the type."""
    if precision is Precision.BFLOAT16:
        if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ModelUnsupported(
                "this processor computes no bfloat16 (it has neither AMX nor AVX512_BF16): use "
                "float32 or int8"
            )
        return {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16"}
    # With the defaults log-probabilities are off by 2.6e-3, with these by 7e-6.
    return {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def native(request: GenerationRequest, model: ModelShape) -> Any:
    """The request for OpenVINO, without stop strings: the pipeline has no tokenizer."""
    config = genai.GenerationConfig()
    ending = model.graph_ids(model.eos_token_ids)
    config.set_eos_token_id(ending[0])
    config.stop_token_ids = {*ending, *model.graph_ids(request.stop_token_ids)}
    config.ignore_eos = request.ignore_eos
    config.min_new_tokens = request.min_tokens
    config.max_new_tokens = request.max_tokens
    config.logprobs = 1
    config.rng_seed = request.seed
    config.do_sample = request.temperature > 0
    if config.do_sample:
        config.temperature = request.temperature
        config.top_p = request.top_p
        if request.top_k:  # with the whole vocabulary as top_k it would sort all of it
            config.top_k = request.top_k
        config.min_p = request.min_p
    return config
