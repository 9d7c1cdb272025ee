"""Tokens per CPU-second on a pretrained model, SmolLM2-135M: our server and `generate`."""

from __future__ import annotations

import asyncio
import statistics
from importlib.metadata import version
from pathlib import Path

from benchmarks import Figures, Result
from benchmarks.serving import CLIENTS, GENERATING, generate, measure_server
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.engine.engine_config import Precision

CLAIM = (
    "On SmolLM2-135M in float32 our server gives more tokens per CPU-second than transformers' "
    "generate, to 1, 16 and 64 clients."
)
MODEL = Path(__file__).parent.parent / ".models" / "smollm2"


def run(quick: bool) -> Result:
    """Rounds of 1, 16 and 64 clients against servers of each precision, then `generate`."""
    if not (MODEL / "config.json").is_file():
        raise SystemExit(f"{MODEL} is not there: run `make smollm2`")
    rounds, requests = (1, 64) if quick else (3, 128)
    ours: dict[str, float] = {}
    for precision in (Precision.FLOAT32, Precision.INT8):
        settings = ServingSettings(precision=precision).model_dump_json()
        arguments = (str(MODEL), "--settings", settings)
        speeds = asyncio.run(measure_server(GENERATING, rounds, requests, *arguments))
        for clients, found in speeds.items():
            ours[f"{precision}_tokens_per_cpu_s_at_{clients}"] = round(statistics.median(found), 1)
    theirs = generate(rounds, MODEL)
    peers: dict[str, Figures] = {f"transformers {version('transformers')} generate": theirs}
    ratios = {
        clients: ours[f"float32_tokens_per_cpu_s_at_{clients}"]
        / theirs[f"tokens_per_cpu_s_at_{clients}"]
        for clients in CLIENTS
    }
    ours |= {f"float32_ratio_to_generate_at_{n}": round(ratio, 2) for n, ratio in ratios.items()}
    return Result(
        ours=ours,
        peers=peers,
        reached=all(ratio > 1 for ratio in ratios.values()),
        note=(
            f"Median of {rounds} rounds. {GENERATING.generated} tokens generated after "
            f"{GENERATING.prompt} new prompt tokens, as ids, temperature 1, log-probabilities on, "
            "one compute thread. Ours counts all CPU time of the server process, HTTP and JSON "
            "included; generate runs in process, as one static batch in float32."
        ),
    )
