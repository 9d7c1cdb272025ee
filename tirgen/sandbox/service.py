"""The sandbox as an HTTP service with SandboxFusion's `/run_code` request and response shape.

verl, THOR and others can point at it unchanged; what the shape cannot say stands beside it under
`tirgen`. Not covered: languages other than Python, stdin, files; asked for, they are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits, Sandbox
from tirgen.sandbox.supervisor import LocalSandbox

MAX_BODY = 8 << 20
MAX_WAITING = 4096
"""Snippets in the queue; beyond it clients are told to come back (503)."""
CAPS = Limits(cpu_seconds=60, wall_seconds=60, memory_mb=4096)
"""The most a request may ask for; what it asks above is cut to this, as SandboxFusion does."""

Model = TypeVar("Model", bound=BaseModel)


class RunCode(BaseModel):
    """SandboxFusion's request; fields it knows and we cannot honour must be empty."""

    model_config = ConfigDict(extra="ignore")

    code: str
    language: str = "python"
    run_timeout: float = 10.0
    compile_timeout: float = 10.0
    """Accepted and without meaning: Python is not compiled ahead."""
    memory_limit_MB: int = -1
    """-1 for the default."""
    stdin: str | None = None
    files: dict[str, Any] | None = None
    fetch_files: list[str] | None = None

    def refusal(self) -> str | None:
        """Why this cannot be run here, or None."""
        if self.language not in ("python", "python3"):
            return f"language {self.language!r} is not supported; send language 'python'"
        for name in ("stdin", "files", "fetch_files"):
            if getattr(self, name):
                return f"{name} is not supported; put the data into the code"
        if self.run_timeout <= 0:
            return "run_timeout must be above 0 seconds"
        return None

    def limits(self) -> Limits:
        seconds = min(self.run_timeout, CAPS.wall_seconds)
        memory = self.memory_limit_MB if self.memory_limit_MB > 0 else Limits().memory_mb
        return Limits(
            cpu_seconds=seconds,
            wall_seconds=seconds,
            memory_mb=min(memory, CAPS.memory_mb),
        )


class Batch(BaseModel):
    """Many snippets in one request; answered in the same order."""

    items: list[RunCode]


@dataclass(slots=True)
class Service:
    """The handlers and what they count."""

    sandbox: Sandbox
    started_at: float
    outcomes: Counter[Outcome]
    cpu_seconds: float = 0.0
    waiting: int = 0

    async def run_code(self, request: web.Request) -> web.Response:
        return web.json_response(await self._run(_parsed(RunCode, await request.read())))

    async def run_batch(self, request: web.Request) -> web.Response:
        batch = _parsed(Batch, await request.read())
        for item in batch.items:
            _check(item)
        return web.json_response(await asyncio.gather(*map(self._run, batch.items)))

    async def _run(self, item: RunCode) -> dict[str, Any]:
        _check(item)
        if self.waiting >= MAX_WAITING:
            raise web.HTTPServiceUnavailable(
                text=f"{MAX_WAITING} snippets are waiting already", headers={"Retry-After": "1"}
            )
        self.waiting += 1
        try:
            execution = await self.sandbox.run(item.code, item.limits())
        finally:
            self.waiting -= 1
        self.outcomes[execution.outcome] += 1
        self.cpu_seconds += execution.cpu_ms / 1e3
        return response(execution, self.sandbox.mode)

    async def health(self, _: web.Request) -> web.Response:
        """Runs a snippet: a service that cannot is not healthy."""
        probe = await self.sandbox.run("print(6 * 7)", Limits(cpu_seconds=5, wall_seconds=10))
        healthy = probe.outcome is Outcome.OK
        report = {"status": "ok" if healthy else "failed", "mode": self.sandbox.mode}
        return web.json_response(report, status=200 if healthy else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Prometheus text format."""
        lines = ["# TYPE tirgen_sandbox_executions_total counter"]
        lines += [
            f'tirgen_sandbox_executions_total{{outcome="{outcome}"}} {self.outcomes[outcome]}'
            for outcome in Outcome
        ]
        lines += [
            "# TYPE tirgen_sandbox_cpu_seconds_total counter",
            f"tirgen_sandbox_cpu_seconds_total {self.cpu_seconds:.6f}",
            "# TYPE tirgen_sandbox_pending gauge",
            f"tirgen_sandbox_pending {self.waiting}",
            "# TYPE tirgen_sandbox_uptime_seconds gauge",
            f"tirgen_sandbox_uptime_seconds {time.monotonic() - self.started_at:.1f}",
        ]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")


def response(execution: Execution, mode: str) -> dict[str, Any]:
    """SandboxFusion's reply: only an infrastructure fault is a SandboxError, never the code's."""
    broken = execution.outcome is Outcome.INFRA_ERROR
    late = execution.outcome is Outcome.TIMEOUT
    fine = execution.outcome in (Outcome.OK, Outcome.NO_OUTPUT)
    return {
        "status": "SandboxError" if broken else "Success" if fine else "Failed",
        "message": execution.stderr if broken else "",
        "compile_result": None,
        "run_result": {
            "status": "Error" if broken else "TimeLimitExceeded" if late else "Finished",
            "execution_time": execution.wall_ms / 1e3,
            "return_code": None if late else execution.exit_code,
            "stdout": execution.stdout,
            "stderr": execution.stderr,
        },
        "executor_pod_name": None,
        "files": {},
        "tirgen": {
            "outcome": execution.outcome.value,
            "exit_code": execution.exit_code,
            "cpu_ms": execution.cpu_ms,
            "peak_memory_mb": execution.peak_memory_mb,
            "truncated": execution.truncated,
            "mode": mode,
        },
    }


def application(sandbox: Sandbox, token: str | None = None) -> web.Application:
    """The service over a running sandbox; with `token`, all but /health asks for it."""
    service = Service(sandbox, time.monotonic(), Counter())
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_authenticate(token)])
    app.router.add_post("/run_code", service.run_code)
    app.router.add_post("/run_batch", service.run_batch)
    app.router.add_get("/health", service.health)
    app.router.add_get("/v1/ping", service.health)
    app.router.add_get("/metrics", service.metrics)
    return app


@contextlib.asynccontextmanager
async def serving(
    host: str, port: int, token: str | None = None, floor: str = "bare", slots: int | None = None
) -> AsyncIterator[str]:
    """The service for as long as the context lasts; its address, with the port it was given.

    Raises:
        ValueError: another address than loopback without a token.
        SandboxUnavailable: nothing at or above the floor works here.
        OSError: the address cannot be bound.
    """
    if not token and not _is_loopback(host):
        raise ValueError(
            f"{host} is reachable from outside: give a token, or listen on 127.0.0.1, "
            "for this service runs whatever code it is sent"
        )
    async with LocalSandbox(floor, slots=slots) as sandbox:
        # a client that goes away cancels its handler, which kills its snippet and frees its slot
        runner = web.AppRunner(application(sandbox, token), handler_cancellation=True)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            yield f"http://{host}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def serve(
    host: str = "127.0.0.1",
    port: int = 8080,
    token: str | None = None,
    floor: str = "bare",
    slots: int | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve until cancelled; raises what `serving` raises."""
    async with serving(host, port, token, floor, slots) as address:
        announce(address)
        await asyncio.Event().wait()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _authenticate(token: str | None) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        expected = f"Bearer {token}"
        open_to_all = token is None or request.path in ("/health", "/v1/ping")
        if not open_to_all and not hmac.compare_digest(given.encode(), expected.encode()):
            raise web.HTTPUnauthorized(text="send the header 'Authorization: Bearer TOKEN'")
        return await handler(request)

    return check


def _parsed(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise web.HTTPBadRequest(text=f"{where}: {first['msg']}") from error


def _check(item: RunCode) -> None:
    if refusal := item.refusal():
        raise web.HTTPBadRequest(text=refusal)
