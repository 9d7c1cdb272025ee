"""Replaces the policy of a running server: vLLM in development mode, or the embedded engine.

A server can report new weights and still use old ones: vLLM has answered 200 and kept the old
output head. This module cannot see that; the trainer's oracle does, on the first rollouts.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tirgen.engine.connect import api_key
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import (
    EngineError,
    EngineMisconfigured,
    EngineRefused,
    PublicationFailed,
)
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool
from tirgen.engine.retry import RetryPolicy

_UNREACHABLE = 30.0
"""Longest wait in seconds for a server that cannot be reached; it was running just before."""
_TRIES = 3
RESETS = 40
"""Tries to empty a prefix cache."""
_RESET_SECONDS = 0.25
"""Between two tries to empty a prefix cache whose blocks are still in use."""


async def publish(config: EngineConfig, folder: Path, label: str) -> None:
    """Make every server sample from the weights in `folder`, under the name `label`.

    Pauses, reloads, resets the prefix cache, names the weights, resumes, on all replicas at the
    same time. Running requests finish with the old weights. A server reads the folder itself, so it
    needs it under the same path. Behind a load balancer, name each server in `base_urls`.
    Publishing again does no harm.

    Raises `EngineMisconfigured` if a server takes no policy, and `PublicationFailed`, which says
    which servers have their old policy or stay paused.
    """
    if config.kind != "tokens":
        raise EngineMisconfigured(
            f"kind = {config.kind} has no server that takes a policy: the embedded engine is "
            "started from the folder of a version (`model`), and a hosted model cannot be changed."
        )
    if fault := _fault_of(folder):
        raise PublicationFailed(
            f"{label} is not published: {folder} {fault}. Every server continues with "
            "its old policy."
        )
    publications = (_publish(config, url, folder, label) for url in config.base_urls)
    found = await asyncio.gather(*publications, return_exceptions=True)
    errors = [error for error in found if error is not None]
    if len(errors) == 1 or (errors and not all(isinstance(e, PublicationFailed) for e in errors)):
        raise next((e for e in errors if not isinstance(e, PublicationFailed)), errors[0])
    if errors:
        raise PublicationFailed(" ".join(map(str, errors)))


async def _publish(config: EngineConfig, base_url: str, folder: Path, label: str) -> None:
    key = api_key(config.api_key_env, base_url)
    async with JsonClient(base_url, api_key=key, connections=1) as client:
        await _Publication(_Server(client, config), folder, label).run()


class _Server:
    """The server's routes, each with a few tries: repeating any of them does no harm."""

    def __init__(self, client: JsonClient, config: EngineConfig) -> None:
        policy = RetryPolicy(
            max_tries=_TRIES, try_seconds=config.timeout_seconds, unreachable_seconds=_UNREACHABLE
        )
        self._pool = Pool.of(client, policy)
        self.root = client.base_url.removesuffix("/v1")

    async def version(self) -> str:
        try:
            return str((await self._get("/weight_info"))["weight_version"])
        except (EngineMisconfigured, EngineRefused, KeyError, TypeError) as error:
            raise EngineMisconfigured(
                f"No policy can be published to {self.root}: {error} vLLM has the routes for it "
                "only with VLLM_SERVER_DEV_MODE=1 in its environment (on a private network: they "
                "ask for no key), the embedded engine only on loopback or with a key."
            ) from error

    async def pause(self) -> None:
        """Returns when no request is running."""
        await self._post("/pause?mode=wait")

    async def resume(self) -> None:
        await self._post("/resume")

    async def reload(self, folder: Path) -> None:
        arguments = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        await self._post("/collective_rpc", arguments)

    async def reset_prefix_cache(self) -> bool:
        answer = await self._post("/reset_prefix_cache")
        return isinstance(answer, dict) and answer.get("success") is True

    async def name_version(self, label: str) -> None:
        await self._post("/update_weight_version", {"new_version": label})

    async def _get(self, path: str) -> Any:
        return (await self._pool.run(lambda client: client.get_root(path))).result

    async def _post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return (await self._pool.run(lambda client: client.post_root(path, data))).result


def _fault_of(folder: Path) -> str | None:
    """Why no server could load the weights; None for a folder that only the server sees.

    Found here before the pause: vLLM answers 500 for them, which leaves open what it has loaded.
    """
    if not folder.is_dir():
        return None
    files = list(folder.glob("*.safetensors"))
    try:
        for file in files:
            with safe_open(file, framework="numpy"):
                pass
    except (OSError, SafetensorError) as error:
        return f"has weights that cannot be read ({error})"
    return None if files else "has no *.safetensors"


class _Publication:
    """One publication, and the state in which it leaves the server."""

    def __init__(self, server: _Server, folder: Path, label: str) -> None:
        self._server = server
        self._folder = folder.absolute()
        self._label = label
        self._whole = True
        """Weights, cache and name of the server belong to one policy."""

    async def run(self) -> None:
        await self._server.version()
        try:
            await self._exchange()
        except EngineError as error:
            if self._whole:
                await self._resume()
            raise PublicationFailed(
                f"{self._label} is not published to {self._server.root}: {error} {self._state()}"
            ) from error
        except asyncio.CancelledError as error:
            if self._whole:
                await self._resume()
            error.add_note(self._state())
            raise
        await self._resume()

    async def _exchange(self) -> None:
        await self._server.pause()
        self._whole = False
        try:
            await self._server.reload(self._folder)
        except (EngineRefused, EngineMisconfigured):  # before it changed anything
            self._whole = True
            raise
        await self._empty_cache()
        await self._server.name_version(self._label)
        served = await self._server.version()
        if served != self._label:
            raise EngineMisconfigured(
                f"Its weights were named {self._label!r}, but it reports {served!r}; if several "
                "servers share one address, publish to each of them."
            )
        self._whole = True

    async def _empty_cache(self) -> None:
        for _ in range(RESETS):
            if await self._server.reset_prefix_cache():
                return
            await asyncio.sleep(_RESET_SECONDS)
        raise EngineMisconfigured(
            f"Its prefix cache could not be reset in {RESETS * _RESET_SECONDS:.0f} s, so new "
            "samples would use what the old policy computed."
        )

    async def _resume(self) -> None:
        try:
            await self._server.resume()
        except EngineError as error:
            raise PublicationFailed(
                f"{self._server.root} stays paused, because it did not resume: {error} "
                f"When it works again: curl -X POST {self._server.root}/resume"
            ) from error

    def _state(self) -> str:
        if self._whole:
            return "The server continues with its old policy."
        return (
            "The server stays paused, because its weights, cache and name can belong to different "
            "policies: publish again, or resume it as it is with "
            f"curl -X POST {self._server.root}/resume"
        )
