"""Chains of actor and critic in one of the peers; started with the python that has it.

``python _scheduling_peers.py PEER URL CHAINS SLOTS``; each peer has an environment of its own:

    python -m venv /tmp/datatrove && /tmp/datatrove/bin/pip install datatrove aiosqlite orjson
    python -m venv /tmp/designer && /tmp/designer/bin/pip install data-designer
    TIRGEN_BENCH_DATATROVE=/tmp/datatrove/bin/python \
        TIRGEN_BENCH_DATA_DESIGNER=/tmp/designer/bin/python python -m benchmarks scheduling
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def datatrove(url: str, chains: int, slots: int) -> None:
    """DataTrove's InferenceRunner: a rollout asks twice; one writer, no checkpoints."""
    from datatrove.data import Document  # type: ignore[import-not-found]
    from datatrove.pipeline.inference.run_inference import (  # type: ignore[import-not-found]
        InferenceConfig,
        InferenceRunner,
    )
    from datatrove.pipeline.writers import JsonlWriter  # type: ignore[import-not-found]

    async def rollout(document: Any, generate: Any) -> str:
        text = document.text
        for model in ("actor", "critic"):
            asked = [{"role": "user", "content": text}]
            text = (await generate({"model": model, "messages": asked})).text
        return str(text)

    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="actor",
        endpoint_url=url.removesuffix("/v1"),
        max_concurrent_generations=slots,
    )
    writer = JsonlWriter(str(Path.cwd() / "out"), compression=None)
    runner = InferenceRunner(rollout_fn=rollout, config=config, output_writer=writer)
    documents = (Document(text=f"What is {n} + {n}?", id=str(n)) for n in range(chains))
    runner.run(documents, rank=0, world_size=1)


def data_designer(url: str, chains: int, slots: int) -> None:
    """Data Designer: one column for each model, the second of which reads the first."""
    os.environ["NEMO_TELEMETRY_ENABLED"] = "false"
    import data_designer.config as dd  # type: ignore[import-not-found]
    from data_designer.interface import DataDesigner  # type: ignore[import-not-found]

    provider = dd.ModelProvider(name="bench", endpoint=url, api_key="none")
    models = [
        dd.ModelConfig(
            alias=name,
            model=name,
            provider="bench",
            skip_health_check=True,
            inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=slots),
        )
        for name in ("actor", "critic")
    ]
    builder = dd.DataDesignerConfigBuilder(model_configs=models)
    asked = {"actor": "What is 17 + 25?", "critic": "Rewrite: {{ actor }}"}
    for name, prompt in asked.items():
        builder.add_column(dd.LLMTextColumnConfig(name=name, model_alias=name, prompt=prompt))
    designer = DataDesigner(artifact_path=Path.cwd() / "out", model_providers=[provider])
    designer.create(builder, num_records=chains)


PEERS = {"datatrove": datatrove, "data-designer": data_designer}

if __name__ == "__main__":
    PEERS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
