"""One JSON request over a kept-alive connection; `Lane` bounds its time and tries it again.

aiohttp, because the client is what saturates first on few cores: 0.3 CPU-ms a call against 7-10
for httpx and the openai SDK.
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import aiohttp

from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.retry import Transient, failure

CONNECT_SECONDS = 15.0
_KEEPALIVE_SECONDS = 4.0
"""Below uvicorn's 5 s, so that no request is sent into a connection the server is closing."""
_ANSWER_SHOWN = 300
"""Characters of an answer that is not JSON to quote in an error."""


class JsonClient:
    """An async context manager around one server."""

    def __init__(self, base_url: str, *, api_key: str | None, connections: int) -> None:
        self.base_url = base_url.rstrip("/")
        self._key = api_key
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, keepalive_timeout=_KEEPALIVE_SECONDS, ttl_dns_cache=60
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, path: str) -> Any:
        """One try for the JSON at `path`, relative to the base URL. Raises like `post`."""
        return await self._once("GET", self.base_url + path, None)

    async def get_root(self, path: str) -> Any:
        """The same for what servers keep beside `/v1`, such as vLLM's `/version`."""
        return await self._once("GET", self.base_url.removesuffix("/v1") + path, None)

    async def post(self, path: str, body: bytes) -> Any:
        """One try to get the JSON answer to a JSON body.

        Raises `Transient` where another try may succeed, else `EngineRefused` or
        `EngineMisconfigured`.
        """
        return await self._once("POST", self.base_url + path, body)

    async def post_root(self, path: str, body: bytes | None) -> Any:
        """The same for what servers keep beside `/v1`; the body may be left out."""
        return await self._once("POST", self.base_url.removesuffix("/v1") + path, body)

    async def _once(self, method: str, url: str, data: bytes | None) -> Any:
        headers = {"Content-Type": "application/json"} if data is not None else None
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as answer:
                body = await answer.read()
        except aiohttp.InvalidURL as error:
            raise EngineMisconfigured(
                f"{url} is not a URL; write `base_url` like http://localhost:8000/v1."
            ) from error
        except TimeoutError as error:
            raise Transient(f"{url} took no connection in {CONNECT_SECONDS:g} s.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Transient(f"The connection to {url} failed ({error}).") from error
        if answer.status != 200:
            message = self._without_key(server_message(body))
            raise failure(answer.status, message, answer.headers.get("Retry-After"))
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            shown = self._without_key(body[:_ANSWER_SHOWN].decode(errors="replace"))
            raise Transient(f"{url} answered 200 with something not JSON: {shown!r}.") from error

    def _without_key(self, text: str) -> str:
        """Some servers quote the key they refuse."""
        return text.replace(self._key, "***") if self._key else text


def server_message(body: bytes) -> str:
    """The server's own explanation, from the shapes OpenAI, vLLM and FastAPI use."""
    text = body[: 10 * _ANSWER_SHOWN].decode(errors="replace").strip()
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return text[:_ANSWER_SHOWN]
    if isinstance(content, dict):
        content = content.get("error", content)
    if isinstance(content, dict):
        content = content.get("message", content.get("detail", content))
    return str(content)[: 2 * _ANSWER_SHOWN]
