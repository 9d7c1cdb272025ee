"""A server with token ids and a fixed latency, as many requests at once as there are.

``python -m benchmarks._slow_engine SECONDS``; prints its port. It writes one honest line to every
question, and counts what it is working on, as vLLM does.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from benchmarks._apps import completion, metrics, serve
from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.renderer import HfRenderer

ANSWER = "The sum of two and two is 4. So the answer is \\boxed{4}."
_RENDERER = HfRenderer.load(str(MODEL_DIR))


class SlowEngine:
    """Answers with a fixed delay."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running = 0

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "slow", "owned_by": "bench"}]})

    async def metrics(self, request: web.Request) -> web.Response:
        return metrics(self._running)

    async def completions(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._running += 1
        try:
            if body["max_tokens"] > 12:  # questions of the start are short
                await asyncio.sleep(self._seconds)
        finally:
            self._running -= 1
        return completion(_RENDERER, body, ANSWER)


def application(seconds: float) -> web.Application:
    engine, app = SlowEngine(seconds), web.Application(client_max_size=2**24)
    app.router.add_get("/v1/models", engine.models)
    app.router.add_get("/metrics", engine.metrics)
    app.router.add_post("/v1/completions", engine.completions)
    return app


if __name__ == "__main__":
    asyncio.run(serve(application(float(sys.argv[1]))))
