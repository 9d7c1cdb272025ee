"""Spreads the shards of a job over a Ray cluster, each as a task (``--on ray://…``).

Ray places the tasks, notices dead workers and nodes, and starts their tasks elsewhere. The store's
lease makes sure that one process works on a shard; what a dead one had committed is not made again.
Every machine needs tirgen, the store under the same path, and the keys of the engines in the
environment of its Ray processes: no key passes through Ray.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from flows.terminal.failures import PREREQUISITE, ExtraMissing, FlowError
from storage.datasets import Store
from storage.leases import LeaseLost
from tirgen.engine.errors import EngineUnavailable
from tirgen.jobs.progress import P, Watch
from tirgen.jobs.shards import Shard
from tirgen.jobs.spreading import R, SpreadableJob, Wave, spread
from tirgen.settings import ConfigError
from tirgen.sockets.secret import new_secret

LOCAL = "ray"
"""In place of an address: the cluster that ``RAY_ADDRESS`` names, else one on this machine."""
_ADDRESS = re.compile(r"ray://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")
_RETRIES = 5
"""More runs of a shard whose worker died, or whose engine, sandbox or disk failed."""
_GRACE_SECONDS = 30.0
"""For cancelled shards to commit what they have."""


class RayUnreachable(FlowError):
    """No Ray cluster can be used (exit code 4)."""

    kind = "prerequisite"
    code = PREREQUISITE


class ShardsLost(FlowError):
    """Ray gave a shard up."""

    kind = "ray"


def checked_address(address: str) -> str:
    """`ray`, or ``ray://HOST:PORT``. Raises `ConfigError`."""
    if address == LOCAL or _ADDRESS.fullmatch(address):
        return address
    raise ConfigError(
        "--on: expected ray://HOST:PORT, the Ray Client port of a cluster's head (10001 by "
        "default), or ray for a cluster on this machine"
    )


class OnRay:
    """A Ray cluster as the place of jobs; connected to when the first shards are to be made.

    A context manager. Calling it raises `ExtraMissing` without Ray, `RayUnreachable`, `ShardsLost`
    when a shard's workers die too often, and what the job raises. The same call then continues.
    """

    def __init__(self, address: str, shard_problems: int | None) -> None:
        """`shard_problems` as for `tirgen.jobs.spreading.spread`. Raises `ConfigError`."""
        self._address = checked_address(address)
        self._shard_problems = shard_problems
        self._stack = ExitStack()
        self._is_connected = False

    async def __call__(self, job: SpreadableJob[P, R], watch: Watch[P]) -> R:
        async def make(wave: Wave, shards: Sequence[Shard]) -> None:
            if not self._is_connected:
                self._stack.enter_context(_connected(self._address))
                self._is_connected = True
            await _made(job, wave, shards)

        return await spread(job, watch, make, self._shard_problems)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


class Calling(NamedTuple):
    """The call that asks for shards."""

    command: list[str]
    """Its command line, which `tirgen watch` shows for continuing."""
    folder: str
    """Relative paths of the configuration count from it, where a machine has it."""


def make_shard(
    job: type[SpreadableJob[Any, Any]],
    config: dict[str, Any],
    store: str,
    calling: Calling,
    shard: Shard,
    wave: Wave,
) -> None:
    """Make the rows of a shard that are still missing; runs in a worker of Ray."""
    sys.argv = calling.command
    if Path(calling.folder).is_dir():
        os.chdir(calling.folder)
    asyncio.run(job.of(config, Store(Path(store))).settle(shard, wave=wave))


async def _made(job: SpreadableJob[Any, Any], wave: Wave, shards: Sequence[Shard]) -> None:
    """Wait for a task of each shard; if one fails, cancel the others and raise its error."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    task = ray.remote(
        num_cpus=1,
        max_retries=_RETRIES,
        retry_exceptions=[EngineUnavailable, LeaseLost, OSError],
        scheduling_strategy="SPREAD",  # a machine after the other, not one until it is full
    )(make_shard)
    document = job.config.model_dump(mode="json")
    root, calling = str(job.store.root), Calling(sys.argv, os.getcwd())
    running = [task.remote(type(job), document, root, calling, shard, wave) for shard in shards]
    futures = [asyncio.wrap_future(reference.future()) for reference in running]
    try:
        for future in asyncio.as_completed(futures):
            await future
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise ShardsLost(
            f"Ray gave a shard up after {_RETRIES + 1} runs: {error}",
            "what is committed stays; read the logs of Ray's workers, then run the same command "
            "again",
        ) from error
    finally:
        for reference in running:
            ray.cancel(reference)
        await asyncio.wait(futures, timeout=_GRACE_SECONDS)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Ray's driver in this process, for as long as the block lasts."""
    with TemporaryDirectory(prefix="tirgen-ray-") as folder:
        options = _options(address, folder)
        try:
            import ray
        except ImportError as error:
            raise ExtraMissing(
                "--on needs Ray, which the core install leaves out",
                "pip install 'tirgen[ray]', in the version of the cluster",
            ) from error
        try:
            if address != LOCAL:  # Ray itself says nothing for half a minute
                _reach(address)
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            raise RayUnreachable(
                f"no Ray cluster at {address}: {error}",
                "start one with `ray start --head --ray-client-server-port 10001` and `ray start "
                "--address HEAD:6379`, of the same versions of Ray and Python as here",
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _reach(address: str) -> None:
    """Raises OSError."""
    parts = urlsplit(address)
    socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10).close()


def _options(address: str, folder: str) -> dict[str, Any]:
    """Arguments of `ray.init`.

    A cluster of our own listens on every interface of the machine, whatever address it is given.
    So it asks for a token, keeps its files in a private folder, and reports nothing to Ray's
    makers. Ray reads these variables when it is imported.
    """
    if address != LOCAL:
        return {"address": address}
    if "RAY_ADDRESS" in os.environ:
        return {}
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": new_secret(),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    return {"address": "local", "_temp_dir": folder, "include_dashboard": False}
