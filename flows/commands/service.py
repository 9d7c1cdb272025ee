"""``tirgen up``, ``down`` and ``status``: the service on Prefect, on this machine."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from flows.commands.options import DEFAULT_STORE, Json, StorePath, open_store
from flows.service.home import ServiceInstance
from flows.terminal.console import command, print_json, say
from flows.terminal.failures import require_service
from flows.terminal.tables import show_rows

if TYPE_CHECKING:
    from flows.service.stack import ServiceProcesses

PORT = 4200
ServicePort = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=65534))]
"""The next port is needed too."""


def up_command(
    *,
    store: StorePath = DEFAULT_STORE,
    port: ServicePort = PORT,
    workers: bool = True,
    json: Json = False,
) -> None:
    """Start the service: Prefect's server and UI, a worker for each pool, all deployments.

    Processes that already run are not started again. Schedules and training by event stay off until
    you switch them on in the UI. Everything listens on loopback only and asks for a secret, which
    is kept in the store; the printed link opens the UI once, within an hour. Run it again for
    another link.

    Example: tirgen up --store store

    Parameters
    ----------
    port
        Port of the server and its UI; the trajectory pages take the next one. A Prefect server that
        already answers there is used if it asks for the same secret; any other program there is an
        error.
    workers
        Start workers on this machine.
    """
    say(f"starting the service of {store} (a first start takes half a minute)")
    stack = asyncio.run(_service(store, port).up(workers))
    if json:
        print_json(asdict(stack))
    else:
        say(f"{'found' if stack.found_server else 'started'} the server")
        say(f"workers: {', '.join(stack.workers) or 'none'}")
        say(f"deployments: {', '.join(stack.deployments)}")
        say(f"stop it: {command()} down --store {store}")
        print(stack.link)


def down_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Stop what `tirgen up` started; its runs continue after the next `tirgen up`.

    Example: tirgen down --store store
    """
    stopped = asyncio.run(_service(store).down())
    if json:
        print_json({"stopped": stopped})
    say(f"stopped {', '.join(stopped)}" if stopped else "nothing of this store was running")


def status_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """List the running processes that `tirgen up` started.

    Example: tirgen status --json
    """
    running = _service(store).running()
    rows = [{"process": one.name, "pid": one.pid, "server": one.url} for one in running]
    if json:
        print_json(rows)
    elif rows:
        show_rows(rows)
    else:
        say(f"nothing is running; start it: {command()} up --store {store}")


def _service(store: Path, port: int = PORT) -> ServiceProcesses:
    require_service()
    from flows.service.stack import ServiceProcesses  # two seconds of imports

    return ServiceProcesses(ServiceInstance(open_store(store).root, port))
