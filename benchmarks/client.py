"""CPU-milliseconds that a completion costs the client, for tirgen and for the usual libraries."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from importlib.metadata import version

import aiohttp
import httpx2
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from benchmarks import Figures, Result, narrate
from benchmarks._completions_server import TOKENS
from tirgen.engine.chat import ChatEngine, ChatOptions
from tirgen.engine.completions import request_body
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool
from tirgen.engine.probe import Capabilities
from tirgen.engine.protocol import Message, Prompt, Sampling
from tirgen.engine.renderer import HfRenderer
from tirgen.engine.retry import RetryPolicy
from tirgen.engine.template import ChatTemplate
from tirgen.engine.tokens import TokenEngine

CLAIM = "A token-exact completion costs the client at most 1.5 CPU-milliseconds."
LIMIT_CPU_MS = 1.5
SLOTS = 32
PROMPT = tuple(40 + i % 60 for i in range(300))
SAMPLING = Sampling(max_tokens=len(TOKENS), seed=1, stop=("```output",))

Call = Callable[[], Awaitable[object]]
Opener = Callable[[str], AbstractAsyncContextManager[Call]]


def run(quick: bool) -> Result:
    """Every client against one server; rounds alternate, so that load affects all alike."""
    calls, rounds = (64, 1) if quick else (1000, 5)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in _CLIENTS}
    with _server() as base_url:
        for number in range(rounds):
            for name, opener in _CLIENTS.items():
                samples[name].append(asyncio.run(_measure(opener, base_url, calls)))
                narrate(f"round {number + 1}: {name} {samples[name][-1][0]:.2f} CPU-ms a call")
    figures = {name: _figures(measured) for name, measured in samples.items()}
    ours = figures.pop("tirgen")
    cpu_ms = ours["cpu_ms_per_call"]
    assert isinstance(cpu_ms, float)
    return Result(
        ours=ours,
        peers=figures,
        reached=cpu_ms <= LIMIT_CPU_MS,
        note=(
            f"{rounds} rounds of {calls} calls, {SLOTS} in flight, {len(PROMPT)} prompt and "
            f"{len(TOKENS)} sampled tokens with log-probabilities, server in another process; the "
            "median round. Ours includes retries, every check and decoding the ids; the peers "
            "parse the answer and check nothing. Bare aiohttp is the floor."
        ),
    )


def _figures(measured: list[tuple[float, float]]) -> Figures:
    cpu, wall = zip(*measured, strict=True)
    return {
        "cpu_ms_per_call": round(statistics.median(cpu), 3),
        "cpu_ms_worst_round": round(max(cpu), 3),
        "calls_per_s": round(statistics.median(wall), 1),
    }


async def _measure(opener: Opener, base_url: str, calls: int) -> tuple[float, float]:
    """CPU-ms per call of this process, and calls per second."""
    slots = asyncio.Semaphore(SLOTS)

    async def one(call: Call) -> None:
        async with slots:
            await call()

    async with opener(base_url) as call:
        await asyncio.gather(*(one(call) for _ in range(SLOTS)))  # connections open, code warm
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one(call) for _ in range(calls)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return 1000 * cpu / calls, calls / wall


@asynccontextmanager
async def _tirgen(base_url: str) -> AsyncIterator[Call]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    renderer = HfRenderer(tokenizer.to_str(), ChatTemplate("", {}))
    found = Capabilities(server="", max_model_len=None)
    async with JsonClient(base_url, api_key=None, connections=SLOTS) as client:
        engine = TokenEngine(Pool.of(client, RetryPolicy(), SLOTS), "m", renderer, found)
        yield lambda: engine.complete(Prompt(messages=(), token_ids=PROMPT), SAMPLING)


@asynccontextmanager
async def _aiohttp(base_url: str) -> AsyncIterator[Call]:
    async with aiohttp.ClientSession() as session:

        async def call() -> object:
            body = request_body("m", PROMPT, SAMPLING, {})
            async with session.post(base_url + "/completions", data=body) as answer:
                return json.loads(await answer.read())

        yield call


@asynccontextmanager
async def _httpx(base_url: str) -> AsyncIterator[Call]:
    async with httpx2.AsyncClient() as client:

        async def call() -> object:
            body = request_body("m", PROMPT, SAMPLING, {})
            return (await client.post(base_url + "/completions", content=body)).json()

        yield call


@asynccontextmanager
async def _openai(base_url: str) -> AsyncIterator[Call]:
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        yield lambda: client.completions.create(
            model="m",
            prompt=PROMPT,
            max_tokens=SAMPLING.max_tokens,
            temperature=SAMPLING.temperature,
            top_p=SAMPLING.top_p,
            seed=SAMPLING.seed,
            stop=list(SAMPLING.stop),
            logprobs=0,
            extra_body={"return_token_ids": True, "include_stop_str_in_output": True},
        )


MESSAGES = (Message("user", "word " * 300),)


@asynccontextmanager
async def _tirgen_chat(base_url: str) -> AsyncIterator[Call]:
    async with JsonClient(base_url, api_key=None, connections=SLOTS) as client:
        engine = ChatEngine(Pool.of(client, RetryPolicy(), SLOTS), "m", ChatOptions())
        yield lambda: engine.complete(Prompt(messages=MESSAGES), SAMPLING)


@asynccontextmanager
async def _openai_chat(base_url: str) -> AsyncIterator[Call]:
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:

        async def call() -> object:
            messages: list[ChatCompletionMessageParam] = [
                {"role": "user", "content": MESSAGES[0].content}
            ]
            stream = await client.chat.completions.create(
                model="m", messages=messages, max_tokens=SAMPLING.max_tokens, stream=True
            )
            return [chunk async for chunk in stream]

        yield call


_CLIENTS: dict[str, Opener] = {
    "tirgen": _tirgen,
    "tirgen, chat streamed": _tirgen_chat,
    f"openai {version('openai')}, chat streamed": _openai_chat,
    f"openai {version('openai')}": _openai,
    f"httpx2 {version('httpx2')}": _httpx,
    f"aiohttp {version('aiohttp')}": _aiohttp,
}


@contextmanager
def _server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._completions_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.communicate()
