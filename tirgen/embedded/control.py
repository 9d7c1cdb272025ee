"""Putting other weights into the running server: vLLM's development routes for it.

Pause, reload, reset the prefix cache, name the version, resume. Of vLLM's modes of pausing only
`wait` is honoured: what runs finishes on the old weights, what arrives is held for the new ones.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from aiohttp import web
from pydantic import Field

from tirgen.embedded.architecture import ModelUnsupported
from tirgen.embedded.batching import ContinuousBatchingEngine, EngineStopped
from tirgen.embedded.errors import Refusal
from tirgen.embedded.json_bodies import answer, parse
from tirgen.embedded.pause import Gate
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


class Control:
    """The routes over one engine; `gate` is what generations must pass."""

    def __init__(self, engine: ContinuousBatchingEngine, gate: Gate) -> None:
        self._engine = engine
        self._gate = gate
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
        """Answers when nothing runs any more."""
        mode = http.query.get("mode", "abort")
        if mode != "wait":
            raise Refusal(
                f"the pocket engine does not honour mode={mode}; mode=wait lets what runs finish",
                param="mode",
            )
        async with self._changing:
            self._gate.close()
        await self._gate.emptied()
        if not self._gate.closed:
            raise Refusal("the server was resumed before it had paused", status=409)
        return answer({"status": "paused"})

    async def _resume(self, http: web.Request) -> web.Response:
        async with self._changing:
            self._gate.open()
        return answer({"status": "resumed"})

    async def _is_paused(self, http: web.Request) -> web.Response:
        return answer({"is_paused": self._gate.closed})

    async def _collective_rpc(self, http: web.Request) -> web.Response:
        """Load the folder's weights; when that is refused the old ones stay."""
        request = await parse(http, CollectiveRpc)
        async with self._changing:
            if not (self._gate.closed and self._gate.empty):
                raise Refusal(
                    "weights are reloaded while nothing runs: POST /pause?mode=wait first",
                    status=409,
                )
            try:
                await self._engine.reload(Path(request.kwargs.weights_path))
            except (ModelUnsupported, OSError) as error:
                raise Refusal(str(error), param="weights_path") from error
            except EngineStopped as error:
                raise Refusal(str(error), status=503) from error
        return answer({"results": [None]})

    async def _reset_prefix_cache(self, http: web.Request) -> web.Response:
        """Success is false, as in vLLM, while generations hold parts of the cache."""
        async with self._changing:
            if not self._gate.empty:
                return answer({"success": False})
            paused = self._gate.closed
            self._gate.close()
            try:
                await self._engine.reset_prefix_cache()
            except EngineStopped as error:
                raise Refusal(str(error), status=503) from error
            finally:
                if not paused:
                    self._gate.open()
        return answer({"success": True})

    async def _update_weight_version(self, http: web.Request) -> web.Response:
        request = await parse(http, NewVersion)
        self._engine.weight_version = request.new_version
        return answer({"success": True, "new_version": request.new_version})

    async def _weight_info(self, http: web.Request) -> web.Response:
        return answer({"weight_version": self._engine.weight_version})
