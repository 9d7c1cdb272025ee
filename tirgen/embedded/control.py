"""vLLM's development routes that replace the weights of a running server.

Pause, reload, reset the prefix cache, name the version, resume. Of vLLM's pause modes only `wait`
is supported: running requests finish with the old weights, new requests wait for the new weights.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from aiohttp import web
from pydantic import Field

from tirgen.embedded.architecture import ModelUnsupported
from tirgen.embedded.batching import ContinuousBatchingEngine, EngineStopped
from tirgen.embedded.json_api import ApiError, answer, parse
from tirgen.embedded.requests import RequestModel


class ReloadArguments(RequestModel):
    weights_path: str = Field(min_length=1)
    """A folder on the server's machine, in the Hugging Face layout."""


class CollectiveRpc(RequestModel):
    """POST /collective_rpc."""

    method: Literal["reload_weights"]
    kwargs: ReloadArguments


class NewVersion(RequestModel):
    """POST /update_weight_version."""

    new_version: str = Field(min_length=1, max_length=1000)


HOLD_SECONDS = 30.0
"""How long a new request waits during a pause; a publication takes less than a second."""


class PauseSwitch:
    """Counts running requests; while paused, new ones wait and running ones finish."""

    def __init__(self) -> None:
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._running = 0

    @property
    def paused(self) -> bool:
        return not self._resumed.is_set()

    @property
    def idle(self) -> bool:
        """No request is running."""
        return self._running == 0

    def pause(self) -> None:
        self._resumed.clear()

    def resume(self) -> None:
        self._resumed.set()

    async def wait_until_idle(self) -> None:
        await self._idle.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block is a running request. Raises `ApiError` when the server stays paused."""
        while self.paused:
            await self._wait_for_resume()
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if self.idle:
                self._idle.set()

    async def _wait_for_resume(self) -> None:
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await self._resumed.wait()
        except TimeoutError:
            raise ApiError(
                f"the server has been paused for over {HOLD_SECONDS:.0f} s; the client that "
                "paused it can resume it with POST /resume",
                status=503,
            ) from None


class Control:
    """The routes over one engine, whose generations run under `switch`."""

    def __init__(self, engine: ContinuousBatchingEngine, switch: PauseSwitch) -> None:
        self._engine = engine
        self._switch = switch
        self._changing = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/pause", self._pause),
            web.post("/resume", self._resume),
            web.get("/is_paused", self._is_paused),
            web.post("/collective_rpc", self._collective_rpc),
            web.post("/reset_prefix_cache", self._reset_prefix_cache),
            web.post("/update_weight_version", self._update_weight_version),
            web.get("/weight_info", self._weight_info),
        ]

    async def _pause(self, http: web.Request) -> web.Response:
        """Answers when no request is running."""
        mode = http.query.get("mode", "abort")
        if mode != "wait":
            raise ApiError(
                f"the embedded engine has no mode={mode}; mode=wait lets running requests finish",
                param="mode",
            )
        async with self._changing:
            self._switch.pause()
        await self._switch.wait_until_idle()
        if not self._switch.paused:
            raise ApiError("the server was resumed before it had paused", status=409)
        return answer({"status": "paused"})

    async def _resume(self, http: web.Request) -> web.Response:
        async with self._changing:
            self._switch.resume()
        return answer({"status": "resumed"})

    async def _is_paused(self, http: web.Request) -> web.Response:
        return answer({"is_paused": self._switch.paused})

    async def _collective_rpc(self, http: web.Request) -> web.Response:
        """Load the folder's weights; if they are refused, the old weights stay."""
        request = await parse(http, CollectiveRpc)
        async with self._changing:
            if not (self._switch.paused and self._switch.idle):
                raise ApiError(
                    "weights are only reloaded during a pause: POST /pause?mode=wait first",
                    status=409,
                )
            try:
                await self._engine.reload(Path(request.kwargs.weights_path))
            except (ModelUnsupported, OSError) as error:
                raise ApiError(str(error), param="weights_path") from error
            except EngineStopped as error:
                raise ApiError(str(error), status=503) from error
        return answer({"results": [None]})

    async def _reset_prefix_cache(self, http: web.Request) -> web.Response:
        """Success is false, as in vLLM, while generations use the cache."""
        async with self._changing:
            if not self._switch.idle:
                return answer({"success": False})
            paused = self._switch.paused
            self._switch.pause()
            try:
                await self._engine.reset_prefix_cache()
            except EngineStopped as error:
                raise ApiError(str(error), status=503) from error
            finally:
                if not paused:
                    self._switch.resume()
        return answer({"success": True})

    async def _update_weight_version(self, http: web.Request) -> web.Response:
        request = await parse(http, NewVersion)
        self._engine.weight_version = request.new_version
        return answer({"success": True, "new_version": request.new_version})

    async def _weight_info(self, http: web.Request) -> web.Response:
        return answer({"weight_version": self._engine.weight_version})
