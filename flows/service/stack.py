"""Starts and stops the service on this machine: a server, its pages, a worker for each pool."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    temporary_settings,
)
from prefect.states import AwaitingRetry

from flows.service.apply import POOLS, apply
from flows.service.home import AUTH, SERVER_AUTH, ServiceInstance
from flows.service.ports import HOST, ServiceFailed, is_healthy, is_taken, status
from flows.service.processes import Process, Processes

SERVER, PAGES = "server", "pages"
START_SECONDS = 600.0
"""Enough for the migrations of a new database on a busy machine; 15 seconds is usual."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What is running."""

    url: str
    link: str
    """Opens the UI in a browser; works once."""
    found_server: bool
    """The server ran before this call."""
    deployments: list[str]
    workers: list[str]


class ServiceProcesses:
    """The processes of one home."""

    def __init__(self, home: ServiceInstance) -> None:
        self._home = home
        self._processes = Processes(home.folder)

    async def up(self, workers: bool = True) -> Stack:
        """Start what is missing, and bring the server up to date.

        Raises `ServiceFailed`.
        """
        self._refuse_a_second_server()
        found = is_healthy(self._home.api_url)
        self._refuse_taken_ports(found)
        self._home.make_login()
        if found:
            self._check_found_server()
        else:
            self._start_server()
        self._start_pages()
        with self.settings():
            deployments = await apply(self._home.client_environment())
        started = [self._worker(pool).name for pool in POOLS] if workers else []
        home = self._home
        return Stack(home.ui_url, home.link(), found, deployments, started)

    async def down(self) -> list[str]:
        """Stop what `up` started, workers first; their runs continue after the next `up`.

        Works from the records, whatever port the server listens on.
        """
        server = self._processes.find(SERVER)
        if server and server.url != self._home.ui_url:
            return await ServiceProcesses(self._home.at(server.url)).down()
        processes = sorted(self._processes.all(), key=lambda process: process.name == SERVER)
        for process in processes:
            if process.name == SERVER:
                await self._postpone_runs()
            process.stop()
            self._processes.forget(process)
        return [process.name for process in processes]

    def running(self) -> list[Process]:
        """The processes that `up` started and that still run."""
        return self._processes.all()

    def _refuse_a_second_server(self) -> None:
        server = self._processes.find(SERVER)
        if server and server.url != self._home.ui_url:
            raise ServiceFailed(
                f"the service of {self._home.store} already runs at {server.url}",
                "use that port, or run tirgen down first",
            )

    def _refuse_taken_ports(self, found_server: bool) -> None:
        """Called before anything is started, so that a taken port leaves nothing running."""
        home = self._home
        servers = {} if found_server else {SERVER: home.port}
        for name, port in {**servers, PAGES: home.pages_port}.items():
            if not self._running(name) and is_taken(port):
                raise ServiceFailed(
                    f"port {port}, where the {name} would listen, is taken by another program",
                    "end that program, or choose other ports: tirgen up --port N takes N and N + 1",
                )

    def _check_found_server(self) -> None:
        """It must ask for a secret, and accept that of this store."""
        if status(f"{self._home.api_url}/admin/version") != 401:
            raise ServiceFailed(
                f"the Prefect server that answers at {self._home.ui_url} asks for no secret, so "
                "any page in a browser may run commands through it",
                f"end it and run tirgen up again, or start it with {SERVER_AUTH} and {AUTH} set "
                "to the same value",
            )
        self._check_secret()

    def _check_secret(self) -> None:
        if status(f"{self._home.api_url}/admin/version", self._home.login) == 401:
            raise ServiceFailed(
                f"the server at {self._home.ui_url} refuses the secret of {AUTH} or "
                f"{self._home.secret_file}",
                f"set {AUTH} to the value with which the server was started",
            )

    def _start_server(self) -> None:
        home = self._home
        command = ["-m", "flows.service.server", "--host", HOST, "--port", str(home.port)]
        self._bring_up(SERVER, command, home.server_environment(), home.api_url)

    def _start_pages(self) -> None:
        home = self._home
        command = ["-m", "flows.service.pages", str(home.pages_port)]
        self._bring_up(PAGES, command, home.client_environment(), home.pages_url)

    def _bring_up(
        self, name: str, command: list[str], environment: dict[str, str], address: str
    ) -> None:
        """Start a server unless it runs, and wait until it answers."""
        process = self._running(name) or self._processes.start(
            name, [sys.executable, *command], environment, self._home.ui_url
        )
        deadline = time.monotonic() + START_SECONDS
        while not is_healthy(address):
            if not process.lives or time.monotonic() > deadline:
                process.stop()
                log = self._processes.log(name)
                raise ServiceFailed(
                    f"the {name} did not start at {address}: {_last_line(log.read_text())}",
                    f"read {log}",
                )
            time.sleep(0.5)

    def _running(self, name: str) -> Process | None:
        """The process of that name; one that works for another server is stopped."""
        running = self._processes.find(name)
        if running and running.url != self._home.ui_url:
            running.stop()
            return None
        return running

    def _worker(self, pool: str) -> Process:
        name = f"worker-{pool}"
        if running := self._running(name):
            return running
        return self._processes.start(
            name,
            [sys.executable, *worker_command(pool)],
            self._home.client_environment(),
            self._home.ui_url,
        )

    async def _postpone_runs(self) -> None:
        """Reschedule runs whose worker was stopped; they would stay `Running` (Prefect#22528)."""
        if not is_healthy(self._home.api_url):
            return
        self._check_secret()
        ours = FlowRunFilter(
            state=FlowRunFilterState(
                type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
            ),
            tags=FlowRunFilterTags(all_=["resumable"]),
        )
        with self.settings():
            async with get_client() as client:
                for run in await client.read_flow_runs(flow_run_filter=ours):
                    await client.set_flow_run_state(run.id, AwaitingRetry(), force=True)

    def settings(self) -> AbstractContextManager[object]:
        """Settings for a client of this service, for the duration of a `with`."""
        return temporary_settings(
            {
                PREFECT_HOME: self._home.folder / "prefect",
                PREFECT_API_URL: self._home.api_url,
                PREFECT_API_AUTH_STRING: self._home.login,
            }
        )


def worker_command(pool: str) -> list[str]:
    """Python arguments for a worker; only that of the cpu pool takes several runs at a time."""
    command = ["-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    return command if pool == "cpu" else [*command, "--limit", "1"]


def _last_line(text: str) -> str:
    return next(
        (line for line in reversed(text.splitlines()) if line.strip()), "it printed nothing"
    )
