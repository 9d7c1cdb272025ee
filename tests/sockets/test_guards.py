"""The rule before real servers: aiohttp and, as ASGI, uvicorn, spoken to over sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from tirgen.sockets.aiohttp_guard import guarded, runner
from tirgen.sockets.asgi_guard import Guarded, Receive, Scope, Send
from tirgen.sockets.login_link import LoginLink, link
from tirgen.sockets.rule import SocketRule, bearer, names_of

SECRET = "s3cret"
COOKIE = ("tirgen", "c00kie")
RULE = SocketRule(names_of("127.0.0.1"), (bearer(SECRET),), COOKIE)
KNOWN = {"Authorization": bearer(SECRET)}
JSON = {"Content-Type": "application/json"}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers everything, with how long the body was; echoes over WebSockets."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "private"})
        return
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), bool(message.get("more_body"))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
    await send({"type": "http.response.body", "body": str(length).encode()})


@pytest.fixture
async def asgi() -> AsyncIterator[str]:
    entrance = LoginLink(SECRET, COOKIE, "cGFzcw==")
    config = uvicorn.Config(Guarded(application, RULE, entrance), port=0, log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
async def own() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app = web.Application(middlewares=[guarded(RULE)])
    app.router.add_route("*", "/{path:.*}", answer)
    served = runner(app)
    await served.setup()
    await web.TCPSite(served, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{served.addresses[0][1]}"
    await served.cleanup()


@pytest.fixture(params=["own", "asgi"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


async def ask(
    url: str, method: str = "GET", data: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as http,
        http.request(method, url, data=data, headers=given) as answer,
    ):
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.text()


async def raw(url: str, request: bytes) -> bytes:
    """The first line of what a server answers to these bytes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.readline(), 20)
    finally:
        writer.close()


async def test_who_knows_the_secret_is_served(server: str) -> None:
    status, headers, body = await ask(server, "POST", b"{}", **KNOWN, **JSON)
    assert (status, body) == (200, "2")
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")


async def test_strangers_are_told_what_to_send(server: str) -> None:
    status, _, body = await ask(server)
    assert status == 401
    assert "Authorization: Bearer" in body


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "PUT"])
@pytest.mark.parametrize(
    "foreign", [{"Origin": "http://127.0.0.2:1"}, {"Host": "evil.example"}, {"Origin": "null"}]
)
async def test_foreign_pages_and_names_get_nothing_but_a_refusal(
    server: str, method: str, foreign: dict[str, Any]
) -> None:
    status, headers, _ = await ask(server, method, None, **KNOWN, **foreign)
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control-")]


async def test_a_blob_without_a_type_is_refused(server: str) -> None:
    assert (await ask(server, "POST", b"{}", **KNOWN))[0] == 415
    assert (await ask(server, "POST", b"{}", **KNOWN, Content_Type="text/plain"))[0] == 415


async def test_a_chunked_blob_is_refused(server: str) -> None:
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {bearer(SECRET)}\r\n"
    body = "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert b" 415 " in await raw(server, (head + body).encode())


async def test_a_second_host_is_refused(server: str) -> None:
    two = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"
    assert b" 40" in await raw(server, two)


async def test_a_target_that_names_another_host_is_refused(own: str) -> None:
    asked = b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert b" 403 " in await raw(own, asked)


@pytest.mark.parametrize(
    "body",
    [b"no gzip at all", gzip.compress(b"{}", mtime=0)[:-9], gzip.compress(b"0" * (50 << 20))],
)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "x"])
async def test_compressed_bodies_are_refused_in_silence(
    server: str, body: Any, coding: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, _ = await ask(server, "POST", body, **KNOWN, **JSON, Content_Encoding=coding)
    assert status == 400
    assert "Traceback" not in caplog.text


async def test_a_body_with_bad_chunks_is_refused(own: str) -> None:
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {bearer(SECRET)}\r\n"
    body = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 400 " in await raw(own, (head + body).encode() + b"zz\r\n\r\n")


@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ({"Cookie": "tirgen=c00kie"}, True), ({}, False),
        ({"Cookie": "tirgen=c00kie", "Origin": "http://127.0.0.2:1"}, False),
        ({"Cookie": "tirgen=c00kie", "Host": "evil.example"}, False),
    ],
)  # fmt: skip
async def test_websockets_are_under_the_same_rule(
    asgi: str, headers: dict[str, Any], opens: bool
) -> None:
    async with aiohttp.ClientSession() as http:
        if opens:
            async with http.ws_connect(asgi, headers=headers) as connection:
                assert await connection.receive_str() == "private"
            return
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(asgi, headers=headers)
        assert refused.value.status == 403


async def test_a_link_is_changed_for_a_cookie_that_opens(asgi: str) -> None:
    address, _, code = link(asgi, SECRET).partition("#")
    status, headers, page = await ask(address)
    assert (status, "<script" in page) == (200, True)
    assert "script-src 'sha256-" in headers["content-security-policy"]
    body = json.dumps({"code": code}).encode()
    assert (await ask(address, "POST", body))[0] == 415
    assert (await ask(address, "POST", body, **JSON, Origin="http://127.0.0.2:1"))[0] == 403
    assert (await ask(address, "POST", b"0" * 9999, **JSON))[0] == 403
    assert (await ask(address, "PUT"))[0] == 405
    status, headers, body_text = await ask(address, "POST", body, **JSON)
    assert (status, json.loads(body_text)) == (200, {"password": "cGFzcw=="})
    cookie = headers["set-cookie"].partition(";")[0]
    assert (await ask(asgi, Cookie=cookie))[0] == 200
    assert (await ask(address, "POST", body, **JSON))[0] == 403
