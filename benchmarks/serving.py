"""Tokens per CPU-second of the pocket server, by number of clients, and of `generate`."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from benchmarks import Figures, Result, narrate
from tirgen.embedded.models import MODEL_DIR

CLAIM = (
    "64 concurrent clients get at least 5 times the tokens per CPU-second of the pocket server "
    "that one client gets."
)
LEAST_RATIO = 5.0
CLIENTS = (1, 16, 64)
VOCABULARY = 700
"""Prompts are drawn below this id, so that no two share a prefix and none is special."""


class Load(NamedTuple):
    """Tokens of every request."""

    prompt: int
    generated: int


GENERATING = Load(16, 64)
"""The claim is about this: generation, with a short new part of the prompt."""
READING = Load(88, 64)
"""For comparison: every prompt is new and longer than its answer."""


def run(quick: bool) -> Result:
    """Rounds of 1, 16 and 64 clients against one server, then the same batches in `generate`."""
    rounds, requests = (1, 64) if quick else (5, 256)
    ours: dict[str, float] = {}
    ratios: dict[Load, list[float]] = {}
    for load, suffix in ((GENERATING, ""), (READING, "_long_prompts")):
        measured = asyncio.run(measure_server(load, rounds, requests))
        ratios[load] = [many / one for one, many in zip(measured[1], measured[64], strict=True)]
        for clients, speeds in measured.items():
            ours[f"tokens_per_cpu_s_at_{clients}{suffix}"] = round(statistics.median(speeds))
        ours[f"ratio_64_to_1{suffix}"] = round(statistics.median(ratios[load]), 2)
    ours["worst_ratio_64_to_1"] = round(min(ratios[GENERATING]), 2)
    return Result(
        ours=ours,
        peers=_peers(rounds=1 if quick else 3),
        reached=statistics.median(ratios[GENERATING]) >= LEAST_RATIO,
        note=(
            f"Median of {rounds} rounds. {GENERATING.generated} tokens generated after "
            f"{GENERATING.prompt} new prompt tokens; long_prompts: {READING.generated} after "
            f"{READING.prompt}, where reading the prompt, which batching cannot make cheaper, is "
            "about half of the work and keeps the ratio below 5. Prompts as ids, temperature 1, "
            "log-probabilities on, float32, one compute thread. Ours counts all CPU time of the "
            "server process, HTTP and JSON included; generate runs the first load in process, as "
            "one static batch, without a server."
        ),
    )


async def measure_server(
    load: Load, rounds: int, requests: int, *arguments: str
) -> dict[int, list[float]]:
    """Tokens per CPU-second by number of clients, one figure a round.

    `arguments` go to the server: a model's folder, and what else it takes.
    """
    measured: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        _server(arguments) as (base_url, pid),
        aiohttp.ClientSession(connector=connector) as http,
    ):
        await _send(http, base_url, load, clients=64, requests=64)  # code and cache warm
        for number in range(rounds):
            for clients in CLIENTS:
                count = requests if clients > 1 else requests // 8
                cpu, wall = _cpu_seconds(pid), time.perf_counter()
                await _send(http, base_url, load, clients=clients, requests=count)
                cpu, wall = _cpu_seconds(pid) - cpu, time.perf_counter() - wall
                measured[clients].append(count * load.generated / cpu)
                narrate(
                    f"round {number + 1}: {clients} clients, {measured[clients][-1]:.0f} tokens "
                    f"per CPU-second, {count * load.generated / wall:.0f} per second"
                )
    return measured


@asynccontextmanager
async def _server(arguments: tuple[str, ...]) -> AsyncIterator[tuple[str, int]]:
    """A server, by default of the packaged model: its base URL and process id."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tirgen.embedded.server", *arguments),
        *("--port", "0", "--die-with-parent"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip(), process.pid
    finally:
        process.terminate()
        await process.communicate()


async def _send(
    http: aiohttp.ClientSession, base_url: str, load: Load, *, clients: int, requests: int
) -> None:
    """A number of requests; each client sends its next one when its last is answered."""
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            body = _request(load)
            async with http.post(base_url + "/completions", json=body) as answer:
                generated = (await answer.json())["usage"]["completion_tokens"]
            if generated != load.generated:
                raise RuntimeError(
                    f"{generated} tokens came back where {load.generated} were asked for"
                )

    await asyncio.gather(*(client() for _ in range(clients)))


def _request(load: Load) -> dict[str, Any]:
    return {
        "prompt": random.choices(range(3, VOCABULARY), k=load.prompt),
        "max_tokens": load.generated,
        "ignore_eos": True,
        "temperature": 1.0,
        "logprobs": 0,
        "return_token_ids": True,
        "seed": random.getrandbits(32),
    }


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peers(rounds: int) -> dict[str, Figures]:
    if (
        importlib.util.find_spec("torch") is None
        or importlib.util.find_spec("transformers") is None
    ):
        return {}
    return {f"transformers {version('transformers')} generate": generate(rounds)}


def generate(rounds: int, model_dir: Path = MODEL_DIR) -> dict[str, float]:
    """The same model, prompts and sampling as one static batch in this process."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    figures: dict[str, float] = {}
    for batch in CLIENTS:
        speeds = []
        for number in range(rounds + 1):
            prompts = torch.randint(3, VOCABULARY, (batch, GENERATING.prompt))
            started = _own_cpu_seconds()
            with torch.no_grad():
                model.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    min_new_tokens=GENERATING.generated,
                    max_new_tokens=GENERATING.generated,
                    do_sample=True,
                    top_k=0,
                    output_scores=True,
                    return_dict_in_generate=True,
                )
            if number > 0:  # the first warms up
                speeds.append(batch * GENERATING.generated / (_own_cpu_seconds() - started))
        figures[f"tokens_per_cpu_s_at_{batch}"] = round(statistics.median(speeds))
        narrate(f"generate: batch {batch}, {statistics.median(speeds):.0f} tokens per CPU-second")
    return figures


def _own_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
