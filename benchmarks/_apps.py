"""Runs a benchmark's HTTP server in a process of its own."""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web


async def serve(app: web.Application) -> None:
    """Listen on loopback, print the port, and serve until stdin closes."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
