"""The remote sandbox: a list of services behind the same interface as the local one.

The services that answer take snippets in turn. One that fails rests for a while, and its snippets
run on another: an infrastructure fault is never scored as the code's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits, SandboxUnavailable
from tirgen.sandbox.messages import execution_of
from tirgen.sandbox.modes import IsolationMode
from tirgen.sandbox.result import infrastructure_fault
from tirgen.sandbox.slots import TRAJECTORY
from tirgen.sandbox.token import TOKEN_VARIABLE, token_of
from tirgen.sockets.rule import bearer

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 30
"""A machine whose kernel acknowledges nothing for this long is gone, though no connection was
closed. A machine that is only busy does acknowledge."""
QUEUE_SECONDS = 900.0
"""How long a snippet may wait in a service's queue, and clients for room in it."""
REST_SECONDS = (1.0, 30.0)
"""How long a service that failed rests: at first, and at most."""
_ROUNDS = 3
_PROBE = Limits(cpu_seconds=5, wall_seconds=10, memory_mb=256)


class _Failed(Exception):
    """A service failed; another may work."""


class _Busy(_Failed):
    """Its queue is full."""


@dataclass(slots=True)
class _Service:
    """One address, and until when it rests."""

    url: str
    token: str | None
    rested_at: float = 0.0
    rest: float = REST_SECONDS[0]

    @property
    def is_resting(self) -> bool:
        return time.monotonic() < self.rested_at

    def failed(self) -> None:
        self.rested_at = time.monotonic() + self.rest
        self.rest = min(2 * self.rest, REST_SECONDS[1])

    def answered(self) -> None:
        self.rested_at, self.rest = 0.0, REST_SECONDS[0]


class RemoteSandbox:
    """Runs snippets on services; an async context manager."""

    def __init__(
        self, urls: Sequence[str], token: str | None = None, floor: str = IsolationMode.BARE
    ) -> None:
        """Each service gets `token`, or else the one that `token_of` finds for it.

        Raises:
            ValueError: no address, or a floor that is no mode.
            SecretExposed: the token of this machine's service can be read by others.
        """
        if not urls:
            raise ValueError("no address of a sandbox service")
        self._services = [_Service(url.rstrip("/"), token or token_of(url)) for url in urls]
        self._turn = itertools.cycle(range(len(urls)))
        self._floor = IsolationMode(floor)
        self._modes: set[str] = set()
        self._http: aiohttp.ClientSession | None = None

    @property
    def mode(self) -> str:
        """Of all services that answered at the start: ``zygote/1 root, zygote/1 bare``."""
        return ", ".join(sorted(self._modes))

    async def __aenter__(self) -> Self:
        """Try each service with a snippet.

        Raises:
            SandboxUnavailable: none answers, or one isolates less than the floor.
        """
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_keepalive_socket),
            raise_for_status=False,
        )
        try:
            refusals = await asyncio.gather(*map(self._probe, self._services))
            if len(refused := [reason for reason in refusals if reason]) == len(self._services):
                raise SandboxUnavailable(f"no sandbox service answers: {'; '.join(refused)}")
            self._check_floor()
        except BaseException:
            await self._http.close()
            raise
        return self

    async def _probe(self, service: _Service) -> str | None:
        """Why it cannot be used at present, or None."""
        try:
            body = _body("print(6 * 7)", _PROBE)
            answer = await self.ask(service, "POST", "/run_code", body, _PROBE)
        except _Failed as error:
            service.failed()
            return f"{service.url}: {error}"
        self._modes.add(str(answer["tirgen"]["mode"]))
        return None

    def _check_floor(self) -> None:
        for mode in self._modes:
            if IsolationMode(mode.split()[-1]).strength < self._floor.strength:
                raise SandboxUnavailable(
                    f"a service isolates its snippets by {mode!r} only, below the floor "
                    f"{self._floor!s}; start it with --floor {self._floor!s}, or lower the floor"
                )

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def run(self, code: str, limits: Limits) -> Execution:
        """Execute `code` on the next service, or on another where that one fails."""
        return await self._run(_body(code, limits), limits)

    async def run_against(self, code: str, tests: str, limits: Limits) -> Execution:
        """Run two snippets with a socket between them on one service: see `Sandbox`."""
        return await self._run({**_body(code, limits), "tests": tests}, limits)

    async def _run(self, body: dict[str, Any], limits: Limits) -> Execution:
        failures: list[str] = []
        give_up = time.monotonic() + QUEUE_SECONDS
        while len(failures) < _ROUNDS * len(self._services):
            service = self._next()
            await asyncio.sleep(max(0.0, service.rested_at - time.monotonic()))
            try:
                answer = await self.ask(service, "POST", "/run_code", body, limits)
                execution = execution_of(answer)
            except _Busy as error:
                if time.monotonic() > give_up:
                    return infrastructure_fault(f"{service.url}: {error}")
                await asyncio.sleep(REST_SECONDS[0])
            except (_Failed, KeyError, ValueError, TypeError) as error:
                service.failed()
                failures.append(f"{service.url}: {error}")
            else:
                service.answered()
                if execution.outcome is not Outcome.INFRA_ERROR:
                    return execution
                failures.append(f"{service.url}: {execution.stderr}")
        return infrastructure_fault("; ".join(dict.fromkeys(failures)))

    def _next(self) -> _Service:
        """The next one that is not resting; if all are, the first whose rest ends."""
        for _ in self._services:
            service = self._services[next(self._turn)]
            if not service.is_resting:
                return service
        return min(self._services, key=lambda service: service.rested_at)

    async def session(
        self, memory_mb: int = 1024, cpu_budget: float = 300.0, *, echo: bool = True
    ) -> RemoteSession:
        """A persistent interpreter on one of the services, where it stays.

        Raises:
            SandboxUnavailable: no service can open one.
        """
        failures = []
        request = {"memory_mb": memory_mb, "cpu_budget": cpu_budget, "echo": echo}
        for _ in self._services:
            service = self._next()
            try:
                answer = await self.ask(service, "POST", "/sessions", request, Limits())
                return RemoteSession(self, service, str(answer["session"]))
            except (_Failed, KeyError) as error:
                failures.append(f"{service.url}: {error}")
        raise SandboxUnavailable(f"no service opens a session: {'; '.join(failures)}")

    async def ask(
        self, service: _Service, method: str, path: str, body: dict[str, Any], limits: Limits
    ) -> dict[str, Any]:
        """The JSON of the reply; raises _Failed and _Busy."""
        assert self._http is not None, "enter the sandbox first"
        patience = aiohttp.ClientTimeout(
            total=QUEUE_SECONDS + 10 * limits.wall_seconds, sock_connect=CONNECT_SECONDS
        )
        headers = {"Authorization": bearer(service.token)} if service.token else {}
        try:
            async with self._http.request(
                method, service.url + path, json=body, headers=headers, timeout=patience
            ) as answer:
                if answer.status == 503:
                    raise _Busy(await answer.text())
                if answer.status == 401:
                    raise _Failed(f"it requires its token: put it into {TOKEN_VARIABLE}")
                if answer.status >= 400:
                    raise _Failed(f"{answer.status} {await answer.text()}")
                document: dict[str, Any] = await answer.json()
                return document
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Failed(f"{type(error).__name__} {error}".strip()) from error


class RemoteSession:
    """A session on one service; a fault there ends it, because its state is nowhere else."""

    def __init__(self, sandbox: RemoteSandbox, service: _Service, name: str) -> None:
        self._sandbox = sandbox
        self._service = service
        self._path = f"/sessions/{name}"

    async def run(self, code: str, limits: Limits) -> Execution:
        """Run one cell on top of the state."""
        try:
            answer = await self._sandbox.ask(
                self._service, "POST", f"{self._path}/run", _body(code, limits), limits
            )
            return execution_of(answer)
        except (_Failed, KeyError, ValueError, TypeError) as error:
            return infrastructure_fault(f"{self._service.url}: {error}")

    async def branch(self) -> RemoteSession:
        """Another session that starts from the same state.

        Raises:
            SandboxUnavailable: the service cannot, or the session has ended.
        """
        try:
            answer = await self._sandbox.ask(
                self._service, "POST", f"{self._path}/branch", {"count": 1}, Limits()
            )
            (name,) = answer["sessions"]
        except (_Failed, KeyError, ValueError) as error:
            raise SandboxUnavailable(f"{self._service.url}: {error}") from error
        return RemoteSession(self._sandbox, self._service, name)

    async def close(self) -> None:
        """End it; a session that has ended already is closed too."""
        with contextlib.suppress(_Failed):
            await self._sandbox.ask(self._service, "DELETE", self._path, {}, Limits())


def _keepalive_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that fails when the other machine is gone for `SILENCE_SECONDS`."""
    family, kind, protocol, *_ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", SILENCE_SECONDS // 2),
        ("TCP_KEEPINTVL", SILENCE_SECONDS // 6),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 1000 * SILENCE_SECONDS),
    ):
        if hasattr(socket, option):  # macOS has not all of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return connection


def _body(code: str, limits: Limits) -> dict[str, Any]:
    exact = {name: getattr(limits, name) for name in Limits.__slots__}
    return {"code": code, "limits": exact, "trajectory": TRAJECTORY.get(None)}
