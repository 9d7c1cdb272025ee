"""What HTTP servers of benchmarks share: their process, and answers as vLLM writes them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tirgen.engine.renderer import HfRenderer


async def serve(app: web.Application) -> None:
    """Listen on loopback, print the port, and serve until stdin closes."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def metrics(running: int, waiting: int = 0) -> web.Response:
    """The requests in the server, as vLLM counts them."""
    figures = {"running": running, "waiting": waiting}
    lines = (f"vllm:num_requests_{name} {number}\n" for name, number in figures.items())
    return web.Response(text="".join(lines))


def completion(renderer: HfRenderer, body: Mapping[str, Any], text: str) -> web.Response:
    """`text` up to the request's stop string and its limit of tokens."""
    reason = None
    for stop in body.get("stop") or ():
        if stop in text:
            text, reason = text[: text.index(stop) + len(stop)], stop
    ids = list(renderer.encode(text))
    finish = "stop" if len(ids) <= body["max_tokens"] else "length"
    ids = ids[: body["max_tokens"]]
    choice = {
        "index": 0, "text": renderer.decode(tuple(ids)), "token_ids": ids,
        "prompt_token_ids": body["prompt"], "logprobs": {"token_logprobs": [-0.5] * len(ids)},
        "finish_reason": finish, "stop_reason": reason,
    }  # fmt: skip
    return web.json_response({"object": "text_completion", "choices": [choice]})
