"""A server with a bounded number of slots and a fixed latency, which knows how busy it was.

``python -m benchmarks._slots_server SECONDS SLOTS STRAGGLERS``; prints its port. STRAGGLERS is the
share of requests that take ten times as long, the same ones whoever asks. When its stdin closes it
prints what it was asked as JSON. Requests for few tokens, with which clients begin, do not count.

The model `actor` writes a step, the model `critic` rewrites it with a program, and then states the
output. Both speak token ids (`/v1/completions`) and chat.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from random import Random
from typing import Any

from aiohttp import web

from benchmarks._apps import completion, metrics, serve
from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.renderer import HfRenderer

STEP = "The sum of 17 and 25 is 43. So the answer is \\boxed{43}."
PROGRAM = "We need the sum.\n```python\nprint(17 + 25)\n```\n```output\n42\n```\n"
TAIL = "The sum is 42. So the answer is \\boxed{42}."
SLOWER = 10
_FEW_TOKENS = 12
_RENDERER = HfRenderer.load(str(MODEL_DIR))


class SlotsServer:
    """Answers with a fixed delay, to a bounded number of requests at once."""

    def __init__(self, seconds: float, slots: int, stragglers: float) -> None:
        self._seconds = seconds
        self._slots = asyncio.Semaphore(slots)
        self._stragglers = stragglers
        self._numbers = count()
        self._running = self._waiting = 0
        self.calls = 0
        self.busy = 0.0
        """Seconds of all answers together."""
        self.first: float | None = None
        """When the first request came."""
        self.last = 0.0
        """When the last reply left."""

    async def models(self, request: web.Request) -> web.Response:
        models = [{"id": name, "owned_by": "benchmark"} for name in ("actor", "critic")]
        return web.json_response({"object": "list", "data": models})

    async def metrics(self, request: web.Request) -> web.Response:
        return metrics(self._running, self._waiting)

    async def completions(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self._worked(body)
        prompt = _RENDERER.decode(tuple(body["prompt"]))
        return completion(_RENDERER, body, _written(body["model"], prompt))

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self._worked(body)
        text = _written(body["model"], str(body["messages"]))
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320}
        found = {"id": "c", "object": "chat.completion", "created": 0, "model": body["model"]}
        return web.json_response({**found, "choices": [choice], "usage": usage})

    async def _worked(self, body: Any) -> None:
        """Wait for a slot, and then for the answer."""
        if (body.get("max_tokens") or 1000) <= _FEW_TOKENS:
            return
        now = time.monotonic()
        self.first = now if self.first is None else self.first
        self.calls += 1
        slow = Random(next(self._numbers)).random() < self._stragglers
        seconds = self._seconds * (SLOWER if slow else 1)
        self._waiting += 1
        async with self._slots:
            self._waiting -= 1
            self._running += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self._running -= 1
        self.busy += seconds
        self.last = time.monotonic()


def _written(model: str, prompt: str) -> str:
    """What actor or critic writes next."""
    if model == "actor":
        return STEP
    return TAIL if prompt.rstrip().endswith("```") and "42\n```" in prompt[-30:] else PROGRAM


def application(server: SlotsServer) -> web.Application:
    app = web.Application(client_max_size=2**24)
    app.router.add_get("/v1/models", server.models)
    app.router.add_get("/metrics", server.metrics)
    app.router.add_post("/v1/completions", server.completions)
    app.router.add_post("/v1/chat/completions", server.chat)
    return app


async def main() -> None:
    server = SlotsServer(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    await serve(application(server))
    span = server.last - (server.first or 0.0)
    print(json.dumps({"calls": server.calls, "busy": server.busy, "span": span}))


if __name__ == "__main__":
    asyncio.run(main())
