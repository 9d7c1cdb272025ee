"""``python -m flows.service.pages PORT``: trajectories and reports as HTML pages, for links.

GET /trajectories/ID answers with the page of the trajectory; the id may be a prefix. GET
/reports/NAME answers with the report that `tirgen report NAME` writes. It only reads and listens on
loopback only, behind the rule of `tirgen.sockets`: a browser needs the cookie of the
link that `tirgen up` prints, or the user and password of the API. Not covered: lists and search,
which are `tirgen traj list` and `tirgen sql`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from flows.page.report import POLICY as REPORT_POLICY
from flows.page.report import report_of
from flows.page.trajectory import POLICY, Neighbour, trajectory_page
from flows.service.home import CLIENT_AUTH, pages_cookie, worker_store
from flows.service.ports import HOST
from storage.datasets import Store
from storage.errors import InvalidName, NotFound, StoreError
from storage.find import attempts_at, find_trajectory
from tirgen.sockets.aiohttp_guard import guarded, runner
from tirgen.sockets.rule import SocketRule, basic, names_of

STORE = web.AppKey("store", Store)
HEALTH = "/health"
DRAWING = web.AppKey("drawing", asyncio.Lock)
"""Held while a report is drawn: matplotlib's settings are global."""


def application(store: Store, login: str, port: int) -> web.Application:
    """The pages of a store; `login` is ``user:password``."""
    rule = SocketRule(
        names_of(HOST),
        (basic(login),),
        cookie=pages_cookie(login, port),
        guards=lambda asked: asked.path != HEALTH,
    )
    app = web.Application(middlewares=[_asking_for_password, guarded(rule)])
    app[STORE], app[DRAWING] = store, asyncio.Lock()
    app.add_routes(
        [
            web.get("/trajectories/{id}", _trajectory),
            web.get("/reports/{name}", _report),
            web.get(HEALTH, _health),
        ]
    )
    return app


async def _health(request: web.Request) -> web.Response:
    return web.Response(text="true")


async def _trajectory(request: web.Request) -> web.Response:
    return await _answer(_page, request.app[STORE], request.match_info["id"], POLICY)


async def _report(request: web.Request) -> web.Response:
    async with request.app[DRAWING]:
        return await _answer(
            _report_page, request.app[STORE], request.match_info["name"], REPORT_POLICY
        )


async def _answer(
    page_of: Callable[[Store, str], str], store: Store, name: str, policy: str
) -> web.Response:
    try:
        page = await asyncio.to_thread(page_of, store, name)
    except StoreError as error:
        status = 404 if isinstance(error, NotFound | InvalidName) else 500
        return web.Response(status=status, text=f"{error.message}; {error.hint}")
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return web.Response(text=page, content_type="text/html", headers=headers)


def _report_page(store: Store, name: str) -> str:
    return report_of(store, name).page


def _page(store: Store, prefix: str) -> str:
    """Raises NotFound where no trajectory's id begins so."""
    found = find_trajectory(store, prefix)
    attempts = [
        Neighbour(
            one.attempt,
            one.reward,
            f"/trajectories/{one.trajectory_id}",
            current=one.trajectory_id == found.trajectory_id,
        )
        for one in attempts_at(store, found)
    ]
    return trajectory_page(found, attempts)


@web.middleware
async def _asking_for_password(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make a browser without the cookie ask for user and password (those of the secret file)."""
    try:
        return await handler(request)
    except web.HTTPUnauthorized as refused:
        refused.headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="tirgen"'
        raise


async def _serve(port: int) -> None:
    served = runner(application(worker_store(), os.environ[CLIENT_AUTH], port))
    await served.setup()
    await web.TCPSite(served, HOST, port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
