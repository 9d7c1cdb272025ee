"""The options that several commands share, each documented once, and what they stand for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from flows.terminal.console import DEFAULT_STORE as DEFAULT_STORE
from flows.terminal.console import say

if TYPE_CHECKING:
    from flows.training.estimate import Hardware
    from storage.datasets import Store
    from tirgen.jobs.shards import Shard
    from tirgen.jobs.spreading import Place

StorePath = Annotated[
    Path,
    Parameter(
        name="--store",
        env_var="TIRGEN_STORE",
        help="Folder of the store, or a bucket as s3://BUCKET/PREFIX (gs://, az://).",
    ),
]
Json = Annotated[
    bool,
    Parameter(
        name="--json", negative="", help="Print one JSON document on stdout, not text for people."
    ),
]
SetOption = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative="",
        help="Any other setting as NAME=VALUE with its dotted name, e.g. sandbox.cpu_seconds=20; "
        "may be repeated. docs/configuration.md lists them.",
    ),
]
ConfigFile = Annotated[
    Path | None, Parameter(help="TOML or JSON file with any of the settings; flags override it.")
]
Flag = Annotated[bool, Parameter(negative="")]
Repeated = Annotated[list[str] | None, Parameter(negative="")]
Counts = Annotated[list[int] | None, Parameter(negative="")]
Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]
"""0 takes any free one."""
Seconds = Annotated[float, Parameter(validator=validators.Number(gt=0))]
AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Digits = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=15))]
Processes = Annotated[
    AtLeastOne, Parameter(help="Training processes on each machine, one for each GPU.")
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Trainers:
    """Which machines train."""

    processes: Processes = 1
    machines: AtLeastOne = 1
    """Machines that train. Run the same command on each of them, with the same store; the one that
    --meet names leads, the others run their share of its trainings."""
    meet: str | None = None
    """With --machines: HOST:PORT of one of them, with a free port that only they can reach."""

    @property
    def world(self) -> int:
        """Processes of all machines together."""
        return self.processes * self.machines


ONE_MACHINE = Trainers()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Planning:
    """An estimate instead of a training."""

    estimate: Annotated[bool, Parameter(negative="")] = False
    """Print what the training would need of each device, and train nothing; needs no torch."""
    gpu_memory: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 80.0
    """With --estimate: memory of a device in GB."""
    throughput: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None
    """With --estimate: tokens per second that a device computes forward and backward."""

    def hardware(self, processes: int) -> Hardware:
        from flows.training.estimate import Hardware

        return Hardware(processes=processes, memory_gb=self.gpu_memory, throughput=self.throughput)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Which machines do the work."""

    on: str | None = None
    """Have the rows made by a Ray cluster, in shares: ray://HOST:10001, or ray for one on this
    machine."""
    shard_problems: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """With --on: about how many problems are in a share; by default as many as make 800 rows."""

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Where jobs are worked on. Raises `ConfigError`."""
        from tirgen.jobs.spreading import here

        if self.on is None:
            yield here
            return
        from flows.on_ray import OnRay

        with OnRay(self.on, self.shard_problems) as place:
            yield place


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Machines(Cluster):
    """Which machines do the work, or which share of it this process does."""

    shard: str | None = None
    """Work on one share of the problems, like 3/16 for the third of 16. Start one process for each
    share, on any machines that have the store; the one that ends last publishes one version."""

    def one(self) -> Shard | None:
        """The share of this process; None for all. Raises `ConfigError`."""
        from tirgen.jobs.shards import Shard
        from tirgen.settings import ConfigError

        if self.shard is None:
            return None
        if self.on:
            raise ConfigError("--on makes all shards, --shard one of them; give one of the two")
        try:
            return Shard.parse(self.shard)
        except ValueError as error:
            raise ConfigError(f"--shard: {error}") from None


ANYWHERE, HERE = Cluster(), Machines()

RoundsPlot = Annotated[
    Path | None,
    Parameter(
        name="--plot",
        help="Draw reward, pass rate, length, entropy, KL estimate and clip fraction per round "
        "into this SVG file.",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Engines:
    """The engines of actor and critic."""

    actor: Repeated = None
    """Engine of the actor, which reasons: "embedded", or the base URL of an OpenAI-compatible
    server such as vLLM; repeat it for replicas."""
    actor_model: str | None = None
    """Model name on that server."""
    actor_tokenizer: str | None = None
    """Directory or Hugging Face id of its tokenizer, if the model name is not one."""
    critic: Repeated = None
    """Engine of the critic, which writes programs: "embedded", or a base URL; repeat it for
    replicas."""
    critic_model: str | None = None
    """Model name on that server."""
    critic_tokenizer: str | None = None
    """Directory or Hugging Face id of its tokenizer, if the model name is not one."""

    def settings(self) -> dict[str, Any]:
        from tirgen.engine.engine_config import engine_settings

        return engine_settings(
            "actor", self.actor, self.actor_model, self.actor_tokenizer
        ) | engine_settings("critic", self.critic, self.critic_model, self.critic_tokenizer)


NO_ENGINES = Engines()


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """The pairs of `--set` by dotted name; a value is JSON if it parses as such, else text.

    Raises `ConfigError`.
    """
    from tirgen.settings import ConfigError

    parsed: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected NAME=VALUE, e.g. loop.step_tokens=256")
        try:
            parsed[name] = json.loads(value)
        except json.JSONDecodeError:
            parsed[name] = value
    return parsed


def open_store(path: Path) -> Store:
    """Open for reading and writing; creates nothing yet."""
    from storage.datasets import Store

    return Store(path.expanduser())


def read_store(path: Path) -> Store:
    """Open for reading; a store that does not exist is empty, which a note says."""
    store = open_store(path)
    if not store.root.is_dir():
        say(f"note: there is no folder {store} (--store or TIRGEN_STORE names it)")
    return store
