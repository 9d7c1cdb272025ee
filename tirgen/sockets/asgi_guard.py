"""The rule before an ASGI application that is not ours: Prefect's server, Inspect's viewer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from tirgen.sockets.entrance import PAGE, PAGE_HEADERS, PATH, Entrance
from tirgen.sockets.rule import Asked, Refusal, Rule

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
LONGEST_CODE = 4096
"""Bytes that a page which hands in a code may send."""


class Guarded:
    """An application that is asked only what the rule lets through."""

    def __init__(
        self, application: Application, rule: Rule, entrance: Entrance | None = None
    ) -> None:
        self._application = application
        self._rule = rule
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._application(scope, receive, send)
        asked = _asked(scope)
        entering = self._entrance is not None and asked.path == PATH and not asked.is_websocket
        if (refusal := self._rule.refusal(asked)) and not (entering and refusal.status == 401):
            return await _refuse(refusal, asked, receive, send)
        if entering and self._entrance is not None:
            return await _enter(self._entrance, asked, receive, send)
        await self._application(scope, receive, _with_headers(send))


def _asked(scope: Scope) -> Asked:
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    is_websocket = scope["type"] == "websocket"
    method = "GET" if is_websocket else scope["method"].upper()
    return Asked(method, scope["path"], Asked.grouped(pairs), is_websocket)


async def _refuse(refusal: Refusal, asked: Asked, receive: Receive, send: Send) -> None:
    if asked.is_websocket:
        await receive()
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: HTTP 403
        return
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    await _send(send, refusal.status, headers, f"{refusal.message}\n".encode())


async def _enter(entrance: Entrance, asked: Asked, receive: Receive, send: Send) -> None:
    if asked.method in ("GET", "HEAD"):
        return await _send(send, 200, PAGE_HEADERS, PAGE.encode())
    if asked.method != "POST":
        return await _send(send, 405, {"Allow": "GET, HEAD, POST"}, b"")
    body = b""
    while len(body) <= LONGEST_CODE:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await _send(send, *entrance.answer(body[: LONGEST_CODE + 1]))


async def _send(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    start = {"type": "http.response.start", "status": status, "headers": pairs + HEADERS}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in HEADERS}
            kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in own]
            message["headers"] = kept + HEADERS
        await send(message)

    return send_on
