"""The sandbox as an HTTP service with SandboxFusion's `/run_code` request and reply.

verl, THOR and others can use it unchanged. It adds batches, sessions, health and metrics. Not
covered: languages other than Python, stdin, files; requests for them are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits, SandboxError, SandboxUnavailable
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.messages import MAX_WAITING, Branch, OpenSession, RunBatch, RunCode, reply
from tirgen.sandbox.sessions.registry import (
    IDLE_SECONDS,
    NoSuchSession,
    SessionRegistry,
    TooManySessions,
)
from tirgen.sandbox.slots import TRAJECTORY
from tirgen.sandbox.token import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from tirgen.sockets.aiohttp_guard import guarded, runner
from tirgen.sockets.prometheus import Metric, exposition
from tirgen.sockets.rule import SocketRule, address_of, bearer, names_of, require_secret

MAX_BODY = 8 << 20
OPEN = ("/health", "/v1/ping")
"""Paths that need no token."""
Model = TypeVar("Model", bound=BaseModel)


@dataclass(slots=True)
class SandboxService:
    """The handlers and their counters."""

    sandbox: LocalSandbox
    sessions: SessionRegistry
    started_at: float = field(default_factory=time.monotonic)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    cpu_seconds: float = 0.0
    pending: int = 0
    """Snippets running or waiting."""

    async def run_code(self, request: web.Request) -> web.Response:
        item = _checked(_parsed(RunCode, await request.read()))
        return web.json_response(await self._run(item, _peer(request)))

    async def run_batch(self, request: web.Request) -> web.Response:
        items = [_checked(item) for item in _parsed(RunBatch, await request.read()).items]
        self._check_room(len(items))
        peer = _peer(request)
        return web.json_response(await asyncio.gather(*(self._run(item, peer) for item in items)))

    async def _run(self, item: RunCode, peer: str) -> dict[str, Any]:
        TRAJECTORY.set(item.trajectory or peer)
        limits = item.capped_limits()
        if item.tests is None:
            return await self._counted(self.sandbox.run(item.code, limits))
        return await self._counted(self.sandbox.run_against(item.code, item.tests, limits))

    async def open_session(self, request: web.Request) -> web.Response:
        asked = _parsed(OpenSession, await request.read() or b"{}")
        with _as_http_errors():
            name = await self.sessions.open(asked.memory_mb, asked.cpu_budget, asked.echo)
        return web.json_response({"session": name, "mode": self.sandbox.mode}, status=201)

    async def run_cell(self, request: web.Request) -> web.Response:
        item = _checked(_parsed(RunCode, await request.read()))
        if item.tests is not None:
            raise web.HTTPBadRequest(text="tests: a cell cannot have tests; use POST /run_code")
        with _as_http_errors():
            cell = self.sessions.run(_session(request), item.code, item.capped_limits())
            return web.json_response(await self._counted(cell))

    async def branch_session(self, request: web.Request) -> web.Response:
        asked = _parsed(Branch, await request.read() or b"{}")
        with _as_http_errors():
            names = await self.sessions.branch(_session(request), asked.count)
        return web.json_response({"sessions": names}, status=201)

    async def close_session(self, request: web.Request) -> web.Response:
        with _as_http_errors():
            await self.sessions.close(_session(request))
        return web.json_response({})

    async def _counted(self, running: Coroutine[Any, Any, Execution]) -> dict[str, Any]:
        try:
            self._check_room(1)
        except web.HTTPException:
            running.close()
            raise
        self.pending += 1
        try:
            execution = await running
        finally:
            self.pending -= 1
        self.outcomes[execution.outcome] += 1
        self.cpu_seconds += execution.cpu_ms / 1e3
        return reply(execution, self.sandbox.mode)

    def _check_room(self, count: int) -> None:
        if self.pending + count > MAX_WAITING:
            raise web.HTTPServiceUnavailable(
                text=f"{self.pending} snippets are pending already, {MAX_WAITING} at most",
                headers={"Retry-After": "1"},
            )

    async def health(self, _: web.Request) -> web.Response:
        """Runs a snippet: a service that cannot is not healthy."""
        TRAJECTORY.set("health")
        probe = await self.sandbox.run("print(6 * 7)", Limits(cpu_seconds=5, wall_seconds=10))
        healthy = probe.outcome is Outcome.OK
        report = {"status": "ok" if healthy else "failed", "mode": self.sandbox.mode}
        return web.json_response(report, status=200 if healthy else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Prometheus text format."""
        return web.Response(text=exposition(self._metrics()), content_type="text/plain")

    def _metrics(self) -> Iterator[Metric]:
        outcomes = {f'outcome="{outcome}"': self.outcomes[outcome] for outcome in Outcome}
        yield Metric(
            "tirgen_sandbox_executions_total", "counter", "Programs run, by outcome.", outcomes
        )
        counters = (
            ("cpu_seconds_total", "CPU time of programs.", self.cpu_seconds),
            ("zygote_restarts_total", "Failed zygotes replaced.", self.sandbox.zygote_restarts),
            ("zygote_retirements_total", "Worn zygotes replaced.", self.sandbox.zygote_retirements),
            (
                "sessions_expired_total",
                "Sessions ended by their time limit.",
                self.sessions.expired,
            ),
        )
        gauges = (
            ("sessions", "Open sessions.", self.sessions.count),
            ("pending", "Requests without an answer.", self.pending),
            ("waiting", "Programs that wait for a slot.", self.sandbox.waiting),
            ("uptime_seconds", "Age of the service.", time.monotonic() - self.started_at),
        )
        for name, text, value in counters:
            yield Metric(f"tirgen_sandbox_{name}", "counter", text, {"": value})
        for name, text, value in gauges:
            yield Metric(f"tirgen_sandbox_{name}", "gauge", text, {"": value})


def application(service: SandboxService, host: str, token: str | None = None) -> web.Application:
    """The service over a running sandbox; with `token`, all paths but /health require it."""
    secrets = (bearer(token),) if token else ()
    rule = SocketRule(names_of(host), secrets, guards=lambda request: request.path not in OPEN)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[guarded(rule)])
    app.router.add_post("/run_code", service.run_code)
    app.router.add_post("/run_batch", service.run_batch)
    app.router.add_post("/sessions", service.open_session)
    app.router.add_post("/sessions/{session}/run", service.run_cell)
    app.router.add_post("/sessions/{session}/branch", service.branch_session)
    app.router.add_delete("/sessions/{session}", service.close_session)
    app.router.add_get("/health", service.health)
    app.router.add_get("/v1/ping", service.health)
    app.router.add_get("/metrics", service.metrics)
    return app


@contextlib.asynccontextmanager
async def serving(
    sandbox: LocalSandbox,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    *,
    idle_seconds: float = IDLE_SECONDS,
) -> AsyncIterator[str]:
    """Enter the sandbox and serve it for the block; yields the address, with the port it got.

    Raises:
        ConfigError: an address other than loopback without a token.
        SandboxUnavailable: the sandbox does not work here.
        OSError: the address cannot be bound.
    """
    require_secret(
        host,
        bool(token),
        f"this service runs any code it is sent; give a token in {TOKEN_VARIABLE}, or in a file "
        f"that {TOKEN_FILE_VARIABLE} names, or listen on 127.0.0.1",
    )
    async with sandbox:
        sessions = SessionRegistry(sandbox, idle_seconds)
        # a client that hangs up cancels its handler, which kills its snippet and frees its slot
        served = runner(application(SandboxService(sandbox, sessions), host, token))
        await served.setup()
        try:
            async with sessions.expiring():
                site = web.TCPSite(served, host, port)
                await site.start()
                yield address_of(host, served.addresses[0][1])
        finally:
            await served.cleanup()


async def serve(
    sandbox: LocalSandbox,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve until cancelled; raises what `serving` raises.

    Each client that waits holds a descriptor, so the limit of descriptors is raised to its maximum.
    """
    with contextlib.suppress(ValueError, OSError):  # macOS reports a larger maximum than it allows
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with serving(sandbox, host, port, token) as address:
        announce(address)
        await asyncio.Event().wait()


def _peer(request: web.Request) -> str:
    """Whose turn a snippet takes without a trajectory: all of one machine share one."""
    return f"peer {request.remote}"


def _session(request: web.Request) -> str:
    return request.match_info["session"]


@contextlib.contextmanager
def _as_http_errors() -> Iterator[None]:
    try:
        yield
    except NoSuchSession as error:
        raise web.HTTPNotFound(text=str(error.args[0])) from error
    except TooManySessions as error:
        raise web.HTTPServiceUnavailable(text=str(error), headers={"Retry-After": "10"}) from error
    except SandboxUnavailable as error:
        raise web.HTTPNotImplemented(text=str(error)) from error
    except SandboxError as error:
        raise web.HTTPServiceUnavailable(text=str(error), headers={"Retry-After": "1"}) from error


def _parsed(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise web.HTTPBadRequest(text=f"{where}: {first['msg']}") from error


def _checked(item: RunCode) -> RunCode:
    if refusal := item.refusal():
        raise web.HTTPBadRequest(text=refusal)
    return item
