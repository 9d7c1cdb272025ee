"""Where the service and its workers keep their state, and the settings of their processes.

STORE/service/                   readable by its user alone (0700)
STORE/service/secret             user:password of the API, made by `tirgen up` (0600)
STORE/service/prefect/           Prefect's home: the SQLite database, leases
STORE/service/logs/NAME.log      what each process prints
STORE/service/processes/NAME.json  the processes that `tirgen up` started

For a store in a bucket it lies in ~/.local/state/tirgen/ on the machine of the service.

Other secrets come from the environment and are never written to a file here:

TIRGEN_SERVICE_AUTH       user:password of the API, instead of the one in the file
TIRGEN_SERVICE_DATABASE   postgresql+asyncpg://user:password@host/name instead of SQLite
TIRGEN_SERVICE_NOTIFY     address that gets a JSON message for every failed or drifting run
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from flows.service.ports import HOST
from storage.datasets import Store
from storage.places import mirror_of, shown
from tirgen.settings import ConfigError
from tirgen.sockets.login_link import link
from tirgen.sockets.rule import address_of
from tirgen.sockets.secret import derived, keep_secret, make_private, new_secret, read_secret

AUTH, DATABASE = "TIRGEN_SERVICE_AUTH", "TIRGEN_SERVICE_DATABASE"
NOTIFY = "TIRGEN_SERVICE_NOTIFY"
HEARTBEAT = "TIRGEN_SERVICE_HEARTBEAT"
CLIENT_AUTH, SERVER_AUTH = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"
"""Prefect's own variables for the same secret."""
STORE_VARIABLE = "TIRGEN_STORE"
PAGES_VARIABLE = "TIRGEN_SERVICE_PAGES"
"""Address of `flows.service.pages`, as browsers reach it."""


def worker_store() -> Store:
    """The store named in the worker's environment.

    Raises `ConfigError` without one: a default path would depend on the worker's folder.
    """
    folder = os.environ.get(STORE_VARIABLE)
    if not folder:
        raise ConfigError(
            f"{STORE_VARIABLE} is not set for this worker: start it with `tirgen up --store "
            "FOLDER`, or set the variable to the store's folder before `prefect worker start`"
        )
    return Store(Path(folder).expanduser())


def page_of(trajectory_id: str) -> str | None:
    """The address of a trajectory's page; None if this service has no pages."""
    address = os.environ.get(PAGES_VARIABLE)
    return f"{address}/trajectories/{trajectory_id}" if address else None


def report_of(name: str) -> str | None:
    """The address of the report of a version, a policy or a run; None without pages."""
    address = os.environ.get(PAGES_VARIABLE)
    return f"{address}/reports/{name}" if address else None


def heartbeat_seconds() -> int:
    """Seconds between two heartbeats of a running flow; Prefect allows no less than 30."""
    return int(os.environ.get(HEARTBEAT, "30"))


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """One service: a store and the port of its server."""

    store: Path
    port: int

    def at(self, url: str) -> ServiceInstance:
        """The same store, with the server at another address."""
        return replace(self, port=urlsplit(url).port or self.port)

    @property
    def folder(self) -> Path:
        if mirror_of(self.store):  # which is only a cache
            state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
            return state / "tirgen" / self.store.name / "service"
        return self.store / "service"

    @property
    def ui_url(self) -> str:
        return address_of(HOST, self.port)

    @property
    def api_url(self) -> str:
        return f"{self.ui_url}/api"

    @property
    def pages_port(self) -> int:
        return self.port + 1

    @property
    def pages_url(self) -> str:
        """Address of the trajectory pages (`flows.service.pages`)."""
        return address_of(HOST, self.pages_port)

    @property
    def secret_file(self) -> Path:
        return self.folder / "secret"

    @property
    def login(self) -> str | None:
        """``user:password`` of the API; None before `make_login`. Raises `SecretExposed`."""
        return os.environ.get(AUTH) or read_secret(self.secret_file)

    def make_login(self) -> str:
        """The login; creates one if there is none. Raises `SecretExposed`."""
        make_private(self.folder)
        return os.environ.get(AUTH) or keep_secret(self.secret_file, f"tirgen:{new_secret()}")

    def link(self) -> str:
        """An address that opens the UI and the pages; it works once, within an hour."""
        return link(self.ui_url, self.make_login())

    def client_environment(self) -> dict[str, str]:
        """Environment of workers and of other clients of the API."""
        environment = {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(heartbeat_seconds()),
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_CLIENT_MAX_RETRIES": "7",  # four minutes, for a server that restarts
            # A worker stops looking for cancellations after it failed three times.
            "PREFECT_RUNNER_POLL_FREQUENCY": "45",
            STORE_VARIABLE: shown(self.store),
            PAGES_VARIABLE: self.pages_url,
        }
        if login := self.login:
            environment[CLIENT_AUTH] = login
        return environment

    def server_environment(self) -> dict[str, str]:
        """Environment of the server: no telemetry, and no calls from pages of other sites."""
        environment = self.client_environment() | {
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_API_URL": "/api",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_UI_V2_ENABLED": "false",  # its pages contact an analytics host anyway
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.ui_url,
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        }
        if login := self.login:
            environment[SERVER_AUTH] = login
        if database := os.environ.get(DATABASE):
            environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
        return environment


def pages_cookie(login: str, port: int) -> tuple[str, str]:
    """Name and value of the cookie that opens the trajectory pages at a port, and nothing else.

    Browsers send a cookie to every port of its host, so the login cannot be derived from it.
    """
    return f"tirgen-pages-{port}", derived(login, "trajectory pages")
