"""``python -m flows.service.pages PORT``: the store's trajectories as pages, to link to.

GET /trajectories/ID answers with `trajectory_html` of the id, which may be a prefix. Reads only, on
loopback only, for pages of no other site, and behind the user and password of the API where these
are set. Not covered: lists and search, which are `tirgen traj list` and `tirgen sql`.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sys

from aiohttp import encode_basic_auth, hdrs, web
from aiohttp.typedefs import Handler, Middleware

from flows.service.home import AUTH, HOST
from flows.service.place import worker_store
from storage.datasets import Store
from storage.errors import NotFound
from storage.find import find_trajectory
from storage.render import trajectory_html

STORE = web.AppKey("store", Store)
HEALTH = "/health"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_LOCAL = {HOST, "localhost"}


def application(store: Store, login: str | None) -> web.Application:
    """The pages of a store; `login` is ``user:password``."""
    app = web.Application(middlewares=[_only_local, _only_known(login)])
    app[STORE] = store
    app.add_routes([web.get("/trajectories/{id}", _trajectory), web.get(HEALTH, _health)])
    return app


async def _health(request: web.Request) -> web.Response:
    return web.Response(text="true")


async def _trajectory(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    try:
        found = await asyncio.to_thread(find_trajectory, request.app[STORE], name)
    except NotFound as error:
        return web.Response(status=404, text=f"{error.message}; {error.hint}")
    page = await asyncio.to_thread(trajectory_html, found)
    return web.Response(text=page, content_type="text/html", headers=HEADERS)


@web.middleware
async def _only_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A name that a stranger's site points at loopback is not ours."""
    if request.host.rpartition(":")[0] not in _LOCAL:
        raise web.HTTPForbidden(text="ask for 127.0.0.1 or localhost")
    return await handler(request)


def _only_known(login: str | None) -> Middleware:
    wanted = encode_basic_auth(*login.split(":", 1)) if login else None

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get(hdrs.AUTHORIZATION, "")
        known = wanted is None or hmac.compare_digest(given.encode(), wanted.encode())
        if not known and request.path != HEALTH:
            asked = {hdrs.WWW_AUTHENTICATE: 'Basic realm="tirgen"'}
            raise web.HTTPUnauthorized(headers=asked)
        return await handler(request)

    return check


if __name__ == "__main__":
    app = application(worker_store(), os.environ.get(AUTH))
    web.run_app(app, host=HOST, port=int(sys.argv[1]), print=None)
