"""Single requests over kept-alive connections, answered with JSON or a stream of events.

`Pool` limits their time and tries them again. On few cores the client is the first bottleneck:
aiohttp costs 0.3 CPU-ms per call, httpx and the openai SDK 7 to 10.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.retry import Transient, Trouble, failure

CONNECT_SECONDS = 15.0
_KEEPALIVE_SECONDS = 4.0
"""Shorter than uvicorn's 5 s: no request is sent on a connection that the server is closing."""
_ANSWER_SHOWN = 300
"""Characters of an unreadable answer that an error message quotes."""
_REST_SECONDS, _REST_SHARE = 0.02, 0.1
"""Between two reads of a stream: at least so long, and at most this share of its time so far. A
stop string is noticed that much later."""
_LONGEST_LINE = 1 << 24
"""Most bytes of one line of a stream; reading stops if the server never ends the line."""


class JsonClient:
    """Requests to one server; an async context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        connections: int,
        headers: Mapping[str, str] | None = None,
        secret_headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        secret_query: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` and `query` are sent with every request.

        The key and the values of `secret_headers` and `secret_query` never appear in a message.
        """
        self.base_url = base_url.rstrip("/")
        secret, asked = dict(secret_headers or {}), dict(secret_query or {})
        self._query = {**(query or {}), **asked}
        values = [value for value in (api_key, *secret.values(), *asked.values()) if value]
        self._secrets = [*values, *(quote(value, safe="") for value in values)]
        authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, keepalive_timeout=_KEEPALIVE_SECONDS, ttl_dns_cache=60
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            headers={**authorization, **(headers or {}), **secret},
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
        """The JSON at `path`, relative to the base URL. Raises like `post`."""
        return await self._once("GET", self.base_url + path, None)

    async def get_root(self, path: str) -> Any:
        """The same for a path beside `/v1`, such as vLLM's `/version`."""
        return await self._once("GET", self.base_url.removesuffix("/v1") + path, None)

    async def get_root_text(self, path: str) -> str:
        """The same for an answer that is not JSON, such as vLLM's `/metrics`."""
        url = self.base_url.removesuffix("/v1") + path
        async with self._request("GET", url, None) as answer:
            return (await answer.read()).decode(errors="replace")

    async def post(self, path: str, body: bytes) -> Any:
        """The JSON answer to a JSON body.

        Raises `Transient` when another try can succeed, else `EngineRefused` or
        `EngineMisconfigured`.
        """
        return await self._once("POST", self.base_url + path, body)

    async def post_root(self, path: str, body: bytes | None) -> Any:
        """The same for a path beside `/v1`; the body is optional."""
        return await self._once("POST", self.base_url.removesuffix("/v1") + path, body)

    @asynccontextmanager
    async def events(self, path: str, body: bytes) -> AsyncIterator[AsyncIterator[list[Any]]]:
        """The JSON objects of a stream of server-sent events, in batches of those that have come.

        Leaving the context ends the stream. One JSON object instead of a stream counts as a stream
        of one. Raises like `post`, at the start and while reading.
        """
        url = self.base_url + path
        async with self._request("POST", url, body) as answer:
            yield _batches(answer, self._without_secrets)

    async def _once(self, method: str, url: str, data: bytes | None) -> Any:
        async with self._request(method, url, data) as answer:
            body = await answer.read()
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            shown = self._without_secrets(body[:_ANSWER_SHOWN].decode(errors="replace"))
            raise Transient(f"{url} answered 200 with something not JSON: {shown!r}.") from error

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, data: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of status 200 whose body is not read yet."""
        headers = {"Content-Type": "application/json"} if data is not None else None
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, params=self._query, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    message = self._without_secrets(server_message(await answer.read()))
                    raise failure(answer.status, message, answer.headers.get("Retry-After"))
                yield answer
        except aiohttp.InvalidURL as error:
            raise EngineMisconfigured(
                f"{url} is not a URL; write `base_url` like http://localhost:8000/v1."
            ) from error
        except TimeoutError as error:
            raise Transient(
                f"No connection to {url} within {CONNECT_SECONDS:g} s.",
                trouble=Trouble.UNREACHABLE,
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            failed = self._without_secrets(str(error))
            raise Transient(
                f"The connection to {url} failed ({failed}).", trouble=Trouble.UNREACHABLE
            ) from error

    def _without_secrets(self, text: str) -> str:
        """Some servers quote the key that they refuse."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


async def _batches(
    answer: aiohttp.ClientResponse, clean: Callable[[str], str]
) -> AsyncIterator[list[Any]]:
    """The parsed data of the events, up to the end of the stream or ``[DONE]``."""
    if answer.content_type == "application/json":
        yield [_parsed(await answer.read(), clean)]
        return
    async for events in _events(answer):
        done = b"[DONE]" in events
        if done:
            del events[events.index(b"[DONE]") :]
        if events:
            yield _all_parsed(events, clean)
        if done:
            return


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[list[bytes]]:
    """The ``data:`` of the events, without the comments that servers send to keep a connection.

    A field can have several lines, and a line can end in CR LF (the WHATWG rule). An endpoint sends
    an event for each token, and to wake for each of them costs more than to read it. So the stream
    rests between two reads, while the kernel collects what comes.
    """
    rest, data, began = b"", list[bytes](), time.monotonic()
    async for piece in answer.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise Transient("The server's stream has a line without an end.")
        events = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                events.append(data[0] if len(data) == 1 else b"\n".join(data))
                data = []
        if events:
            yield events
            await _rest(answer, _REST_SHARE * (time.monotonic() - began))


async def _rest(answer: aiohttp.ClientResponse, seconds: float) -> None:
    """Leave what comes meanwhile to the kernel; nothing more comes on a connection given back."""
    connection = answer.connection
    transport = connection.transport if connection else None
    if transport is None:
        return
    assert isinstance(transport, asyncio.ReadTransport)
    transport.pause_reading()
    try:
        await asyncio.sleep(max(_REST_SECONDS, seconds))
    finally:
        transport.resume_reading()


def _all_parsed(events: list[bytes], clean: Callable[[str], str]) -> list[Any]:
    """Parsed as one array, which is several times faster; one by one where that fails."""
    try:
        found = json.loads((b"[" + b",".join(events) + b"]").decode())
    except (ValueError, RecursionError):
        return [_parsed(event, clean) for event in events]
    if len(found) != len(events) or any(_failed(event) for event in found):
        return [_parsed(event, clean) for event in events]
    return list(found)


def _failed(event: Any) -> bool:
    """The event says that the server failed after the stream began."""
    return isinstance(event, dict) and isinstance(event.get("error"), dict)


def _parsed(data: bytes, clean: Callable[[str], str]) -> Any:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as error:
        shown = clean(data[:_ANSWER_SHOWN].decode(errors="replace"))
        raise Transient(f"The answer could not be read: {shown!r}.") from error
    if _failed(event):
        code = event["error"].get("code")
        message = clean(server_message(data))
        raise failure(code if isinstance(code, int) and code >= 400 else 500, message)
    return event


def server_message(body: bytes) -> str:
    """The server's explanation, in the formats of OpenAI, vLLM and FastAPI."""
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
