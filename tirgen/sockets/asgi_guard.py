"""The access rule for ASGI applications of others: Prefect's server, Inspect's viewer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from tirgen.sockets.login_link import PAGE, PAGE_HEADERS, PATH, LoginLink
from tirgen.sockets.rule import RefusedRequest, RequestHead, SocketRule

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
LONGEST_CODE = 4096
"""Most bytes of a request that exchanges a code for a cookie."""


class Guarded:
    """An application behind the rule; `login` opens it for browsers."""

    def __init__(
        self, application: Application, rule: SocketRule, login: LoginLink | None = None
    ) -> None:
        self._application = application
        self._rule = rule
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._application(scope, receive, send)
        head = _head(scope)
        logging_in = self._login is not None and head.path == PATH and not head.is_websocket
        if (refusal := self._rule.refusal(head)) and not (logging_in and refusal.status == 401):
            return await _refuse(refusal, head, receive, send)
        if logging_in and self._login is not None:
            return await _log_in(self._login, head, receive, send)
        await self._application(scope, receive, _with_headers(send))


def _head(scope: Scope) -> RequestHead:
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    is_websocket = scope["type"] == "websocket"
    method = "GET" if is_websocket else scope["method"].upper()
    return RequestHead(method, scope["path"], RequestHead.grouped(pairs), is_websocket)


async def _refuse(refusal: RefusedRequest, head: RequestHead, receive: Receive, send: Send) -> None:
    if head.is_websocket:
        await receive()
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: HTTP 403
        return
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    await _send(send, refusal.status, headers, f"{refusal.message}\n".encode())


async def _log_in(login: LoginLink, head: RequestHead, receive: Receive, send: Send) -> None:
    if head.method in ("GET", "HEAD"):
        return await _send(send, 200, PAGE_HEADERS, PAGE.encode())
    if head.method != "POST":
        return await _send(send, 405, {"Allow": "GET, HEAD, POST"}, b"")
    body = b""
    while len(body) <= LONGEST_CODE:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await _send(send, *login.answer(body[: LONGEST_CODE + 1]))


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
