"""A server with token ids and a fixed latency, as many requests at once as there are.

``python -m benchmarks._slow_engine SECONDS``; prints its port. It writes one honest line to every
question, and counts what it is working on, as vLLM does.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from benchmarks._apps import serve
from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.renderer import HfRenderer

ANSWER = "The sum of two and two is 4. So the answer is \\boxed{4}."
_RENDERER = HfRenderer.load(str(MODEL_DIR))


class SlowEngine:
    """Answers after a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running = 0

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "slow", "owned_by": "bench"}]})

    async def metrics(self, request: web.Request) -> web.Response:
        figures = {"running": self._running, "waiting": 0}
        return web.Response(
            text="".join(f"vllm:num_requests_{name} {n}\n" for name, n in figures.items())
        )

    async def completions(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._running += 1
        try:
            if body["max_tokens"] > 12:  # questions of the start are short
                await asyncio.sleep(self._seconds)
        finally:
            self._running -= 1
        text, reason = ANSWER, None
        for stop in body.get("stop", ()):
            if stop in text:
                text, reason = text[: text.index(stop) + len(stop)], stop
        ids = list(_RENDERER.encode(text))
        finish = "stop" if len(ids) <= body["max_tokens"] else "length"
        ids = ids[: body["max_tokens"]]
        choice = {
            "index": 0, "text": _RENDERER.decode(tuple(ids)), "token_ids": ids,
            "prompt_token_ids": body["prompt"], "logprobs": {"token_logprobs": [-0.5] * len(ids)},
            "finish_reason": finish, "stop_reason": reason,
        }  # fmt: skip
        return web.json_response({"object": "text_completion", "choices": [choice]})


def application(seconds: float) -> web.Application:
    engine, app = SlowEngine(seconds), web.Application(client_max_size=2**24)
    app.router.add_get("/v1/models", engine.models)
    app.router.add_get("/metrics", engine.metrics)
    app.router.add_post("/v1/completions", engine.completions)
    return app


if __name__ == "__main__":
    asyncio.run(serve(application(float(sys.argv[1]))))
