"""A small server that answers `/pooling` as vLLM does, with a score that can be foretold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class ScoringServer:
    """Scores a response by its length, a number a token; refuses its first request."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.authorization: set[str | None] = set()
        self.answer: Any = None
        """Given instead of a score where set."""

    async def pooling(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        self.authorization.add(request.headers.get("Authorization"))
        if len(self.requests) == 1:
            return web.json_response({"error": {"message": "starting"}}, status=503)
        if self.answer is not None:
            return web.json_response(self.answer)
        content = self.requests[-1]["messages"][-1]["content"]
        data = [[0.25], [0.5], [float(len(content))]]
        return web.json_response({"object": "list", "data": [{"index": 0, "data": data}]})


@asynccontextmanager
async def scoring_server() -> AsyncIterator[tuple[str, ScoringServer]]:
    """The server's root URL, and what it was asked."""
    server = ScoringServer()
    app = web.Application()
    app.router.add_post("/pooling", server.pooling)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}", server
    finally:
        await runner.cleanup()
