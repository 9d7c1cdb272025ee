"""The engine's metrics under vLLM's names, so that one dashboard shows both engines."""

from __future__ import annotations

from collections.abc import Iterator

from tirgen.embedded.batching import ContinuousBatchingEngine
from tirgen.sockets.prometheus import Metric


def engine_metrics(engine: ContinuousBatchingEngine, model: str) -> Iterator[Metric]:
    """All metrics of one engine at this moment."""
    label = f'model_name="{model}"'
    gauges = (
        ("num_requests_running", "Running generations.", engine.running),
        ("num_requests_waiting", "Generations that have not started.", engine.waiting),
        ("kv_cache_usage_perc", "1 is full.", engine.cache_usage),
    )
    counters = (
        ("prompt_tokens_total", "Prompt tokens processed.", engine.prompt_tokens),
        ("generation_tokens_total", "Tokens generated.", engine.generation_tokens),
    )
    for name, text, value in gauges:
        yield Metric(f"vllm:{name}", "gauge", text, {label: value})
    for name, text, count in counters:
        yield Metric(f"vllm:{name}", "counter", text, {label: count})
    ended = {f'{label},finished_reason="{why}"': count for why, count in engine.finished.items()}
    yield Metric("vllm:request_success_total", "counter", "Generations ended, by reason.", ended)
