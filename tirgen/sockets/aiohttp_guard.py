"""The rule before an aiohttp application."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tirgen.sockets.rule import Asked, Refusal, Rule

HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}


def guarded(rule: Rule) -> Middleware:
    """Middleware, to stand inside whatever shapes errors: refusals are raised as aiohttp's own.

    A body that breaks off or is badly cut in chunks is refused as well, wherever it is read.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if refusal := rule.refusal(_asked(request)):
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
    """What serves a guarded application. A client that goes away cancels its handler.

    Nothing is decompressed: aiohttp would do that even with the body of a refused request, and
    fail at what is none.
    """
    return web.AppRunner(app, handler_cancellation=True, auto_decompress=False, **options)


def _asked(request: web.Request) -> Asked:
    headers = Asked.grouped(request.headers.items())
    if not request.raw_path.startswith("/"):  # as to a proxy: it names a host of its own
        headers.setdefault("host", []).append(request.raw_path)
    return Asked(request.method, request.path, headers)


def _as_error(refusal: Refusal) -> web.HTTPError:
    kinds = {
        400: web.HTTPBadRequest,
        401: web.HTTPUnauthorized,
        403: web.HTTPForbidden,
        415: web.HTTPUnsupportedMediaType,
    }
    return kinds[refusal.status](text=refusal.message)
