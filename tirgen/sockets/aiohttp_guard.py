"""The access rule for aiohttp applications."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tirgen.sockets.rule import RefusedRequest, RequestHead, SocketRule

HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}


def guarded(rule: SocketRule) -> Middleware:
    """Middleware that raises refusals as aiohttp errors; put it inside one that formats errors.

    A body that ends early or has wrong chunks is refused too, wherever it is read.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if refusal := rule.refusal(_head(request)):
            raise _as_error(refusal)
        try:
            response = await handler(request)
        except web.RequestPayloadError as error:
            raise web.HTTPBadRequest(text=f"the body cannot be read: {error}") from error
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return check


def runner(app: web.Application, **options: Any) -> web.AppRunner:
    """The runner of a guarded application; a client that disconnects cancels its handler.

    Without decompression: aiohttp would decompress even the body of a refused request, and fail if
    it is invalid.
    """
    return web.AppRunner(app, handler_cancellation=True, auto_decompress=False, **options)


def _head(request: web.Request) -> RequestHead:
    headers = RequestHead.grouped(request.headers.items())
    if not request.raw_path.startswith("/"):  # a request to a proxy: its URL names a host
        headers.setdefault("host", []).append(request.raw_path)
    return RequestHead(request.method, request.path, headers)


def _as_error(refusal: RefusedRequest) -> web.HTTPError:
    kinds = {
        400: web.HTTPBadRequest,
        401: web.HTTPUnauthorized,
        403: web.HTTPForbidden,
        415: web.HTTPUnsupportedMediaType,
    }
    return kinds[refusal.status](text=refusal.message)
