"""A server between a job and an engine that takes its time and remembers what it was asked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web

PROBE_TOKENS = 12
"""A client's first questions ask for fewer tokens; every job asks them again."""


class CountingEngine:
    """Passes requests on after a random wait; it runs in a thread of its own."""

    def __init__(self, engine: str, longest_wait: float) -> None:
        self._engine = engine.removesuffix("/v1")
        self._wait = longest_wait
        self._random = random.Random(7)
        self.asked = Counter[str]()
        """How often each request came, by the hash of its body."""
        self.url = ""

    @property
    def repeated(self) -> int:
        """How many requests were paid for that had been paid for before."""
        return self.asked.total() - len(self.asked)

    async def _pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        counts = request.path.endswith("/completions") and (
            json.loads(body)["max_tokens"] > PROBE_TOKENS
        )
        if counts:
            self.asked[hashlib.sha256(body).hexdigest()] += 1
            await asyncio.sleep(self._random.uniform(0, self._wait))
        url, headers = self._engine + request.path_qs, {"Content-Type": request.content_type}
        async with self._client.request(request.method, url, data=body, headers=headers) as answer:
            content = await answer.read()
            return web.Response(
                body=content, status=answer.status, content_type=answer.content_type
            )

    async def serve(self, ready: threading.Event, over: threading.Event) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, access_log=None)
        async with aiohttp.ClientSession() as self._client:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            ready.set()
            await asyncio.to_thread(over.wait)
            await runner.cleanup()


@contextmanager
def counting(engine: str, longest_wait: float) -> Iterator[CountingEngine]:
    """Serve until the block ends. `longest_wait` is in seconds."""
    server = CountingEngine(engine, longest_wait)
    ready, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(ready, over)))
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        over.set()
        thread.join()
