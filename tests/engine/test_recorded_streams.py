"""Streams in the shapes of servers that do not run here, after exchanges that others published.

Ollama (`system_fingerprint` of ``fp_ollama``, 2025), SGLang (`matched_stop`, 2026), TGI 2.4 and 3.
The words are ours; the names, nulls, order and ends are theirs.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.protocol import Finish, Message, Prompt, Sampling
from tirgen.engine.renderer import HfRenderer
from tirgen.jobs.engines import open_engine

ASK = Prompt(messages=(Message("user", "Count."),))
SAMPLING = Sampling(max_tokens=64)
HEAD = {"object": "chat.completion.chunk", "created": 1796125786, "model": "m"}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, **more, "finish_reason": finish}
    return {**HEAD, "choices": [choice]}


def usage(prompt: int, completion: int, **more: Any) -> dict[str, int]:
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **more}


OLLAMA = [
    {**chunk({"role": "assistant", "content": "", "reasoning": "Easy."}), "id": "chatcmpl-8"},
    chunk({"role": "assistant", "content": "one"}),
    chunk({"role": "assistant", "content": " two"}),
    chunk({"role": "assistant", "content": ""}, "stop"),
    {**HEAD, "choices": [], "usage": usage(17, 3)},
]
"""Every chunk has a role; the last one with a choice has no text."""
NONE = {"logprobs": None, "matched_stop": None}
SGLANG = [
    chunk({"role": "assistant", "content": "", "reasoning_content": None}, **NONE),
    chunk({"role": None, "content": None, "reasoning_content": "Easy."}, **NONE),
    chunk({"role": None, "content": "one", "reasoning_content": None}, **NONE),
    chunk({"role": None, "content": " two", "reasoning_content": None}, **NONE),
    chunk({"role": None, "content": None}, "stop", logprobs=None, matched_stop=151645),
    {**HEAD, "choices": [], "usage": usage(17, 3, reasoning_tokens=1)},
]
"""`matched_stop` is the id of the end token here."""
TGI_2 = [
    {**chunk({"role": "assistant", "content": "one"}, "", logprobs=None), "id": "", "usage": None},
    {**chunk({"role": "assistant", "content": " two"}, "", logprobs=None), "id": "", "usage": None},
    {
        **chunk({"role": "assistant", "content": ""}, "eos_token", logprobs=None),
        "usage": usage(17, 3),
    },
]
"""No end is an empty text, and the ends have names of TGI's own."""
TGI_3 = [
    {**chunk({"role": "assistant", "content": "one"}, None, logprobs=None), "usage": None},
    {**chunk({"role": "assistant", "content": " two"}, None, logprobs=None), "usage": None},
    {**chunk({"role": "assistant", "content": ""}, "stop", logprobs=None), "usage": None},
    {**HEAD, "choices": [], "usage": usage(17, 3)},
]


def server(events: list[dict[str, Any]]) -> TestServer:
    async def chat(request: web.Request) -> web.Response:
        lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return web.Response(text=f"{lines}data: [DONE]\n\n", content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    return TestServer(app)


@pytest.mark.parametrize(
    "events", [OLLAMA, SGLANG, TGI_2, TGI_3], ids=["ollama", "sglang", "tgi2", "tgi3"]
)
async def test_the_stream_is_read_to_its_end_with_the_servers_counts(
    events: list[dict[str, Any]],
) -> None:
    async with server(events) as peer:
        config = EngineConfig(kind="chat", base_urls=[str(peer.make_url("/v1"))], model="m")
        async with open_engine(config) as engine:
            found = await engine.complete(ASK, SAMPLING)
            cut = await engine.complete(ASK, Sampling(max_tokens=64, stop=("ne",)))
    assert (found.text, found.finish, found.ended_turn) == ("one two", Finish.STOP, True)
    assert (found.prompt_tokens, found.completion_tokens) == (17, 3)
    assert (cut.text, cut.stop_reason) == ("one", "ne")


async def test_sglangs_name_of_a_stop_string_is_not_taken_for_vllms() -> None:
    """It gives token ids since July 2026, but cuts the stop string off and calls it otherwise."""

    async def completions(request: web.Request) -> web.Response:
        body = await request.json()
        choice = {
            "index": 0,
            "text": "1",
            "logprobs": {"token_logprobs": [-0.1]},
            "finish_reason": "stop",
            "matched_stop": body.get("stop", [None])[0],
            "token_ids": list(HfRenderer.load(MODEL_DIR).encode("1")),
            "prompt_token_ids": body["prompt"],
        }
        return web.json_response({"object": "text_completion", "choices": [choice]})

    async def models(request: web.Request) -> web.Response:
        card = {"id": "pocket", "owned_by": "sglang", "max_model_len": 2048}
        return web.json_response({"object": "list", "data": [card]})

    app = web.Application()
    app.router.add_post("/v1/completions", completions)
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as peer:
        config = EngineConfig(kind="tokens", base_urls=[str(peer.make_url("/v1"))], model="pocket")
        with pytest.raises(EngineMisconfigured, match="kind = chat"):
            async with open_engine(config):
                pass
