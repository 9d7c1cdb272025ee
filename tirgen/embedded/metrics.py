"""The engine's counters in Prometheus text, under vLLM's names so that one dashboard reads both."""

from __future__ import annotations

from tirgen.embedded.batching import ContinuousBatchingEngine


def exposition(engine: ContinuousBatchingEngine, model: str) -> str:
    """All metrics of one engine at this moment."""
    label = f'model_name="{model}"'
    lines = []

    def metric(name: str, kind: str, text: str, *samples: tuple[str, float]) -> None:
        lines.append(f"# HELP vllm:{name} {text}")
        lines.append(f"# TYPE vllm:{name} {kind}")
        lines.extend(f"vllm:{name}{{{labels}}} {value:g}" for labels, value in samples)

    metric("num_requests_running", "gauge", "Generations in progress.", (label, engine.running))
    metric(
        "num_requests_waiting", "gauge", "Generations yet to be started.", (label, engine.waiting)
    )
    metric("kv_cache_usage_perc", "gauge", "1 is full.", (label, engine.cache_usage))
    metric(
        "prompt_tokens_total", "counter", "Prompt tokens taken in.", (label, engine.prompt_tokens)
    )
    metric(
        "generation_tokens_total", "counter", "Tokens generated.", (label, engine.generation_tokens)
    )
    metric(
        "request_success_total",
        "counter",
        "Generations that ended, by reason.",
        *((f'{label},finished_reason="{how}"', count) for how, count in engine.finished.items()),
    )
    return "\n".join(lines) + "\n"
