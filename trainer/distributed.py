"""Training in one process or many with the same code: torch's own, started by `torchrun`.

gloo on CPU, nccl on CUDA. torchrun sets environment variables with the rank of the process;
without them the run is a single process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from trainer.launch import FOLDER
from trainer.model import Scorer

T = TypeVar("T")


class Sharding(StrEnum):
    """How the model is divided among the processes."""

    DDP = "ddp"
    """Every process has the whole model."""
    FSDP = "fsdp"
    """Every process has a share of all weights, gradients and optimiser state (FSDP2)."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run, and which of them this one is."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes what only one process must write."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes; float64, on the CPU."""
        values = values.double().to(self.device)
        if self.size > 1:
            dist.all_reduce(values)
        return values.cpu()

    def gather(self, value: T) -> list[T]:
        """The values of all processes in the order of their ranks."""
        if self.size == 1:
            return [value]
        found: list[T] = [value] * self.size
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started, or be the only one.

    They meet through files where `trainer.launch` started them, else at torchrun's own port.

    On the CPU torch uses one thread: it is the fastest for small models, and another number of
    threads rounds differently.
    """
    cuda = torch.cuda.is_available()
    threads = torch.get_num_threads()
    device = (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    )
    if cuda:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    many = "WORLD_SIZE" in os.environ
    if many:
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        store, rank, size = _meeting() or (None, -1, -1)
        dist.init_process_group(
            backend, device_id=device if cuda else None, store=store, rank=rank, world_size=size
        )
    try:
        yield World(dist.get_rank() if many else 0, dist.get_world_size() if many else 1, device)
    finally:
        torch.set_num_threads(threads)
        if many:
            dist.destroy_process_group()


def _meeting() -> tuple[dist.FileStore, int, int] | None:
    """Where the processes of `trainer.launch` meet, this one's rank, and how many they are.

    A new file for every restart by torchrun: what the old processes wrote would mislead the new.
    """
    if (folder := os.environ.get(FOLDER)) is None:
        return None
    size = int(os.environ["WORLD_SIZE"])
    file = os.path.join(folder, f"processes-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}")
    return dist.FileStore(file, size), int(os.environ["RANK"]), size


def distribute(scorer: Scorer, world: World, sharding: Sharding) -> nn.Module:
    """The scorer on this process's device, wrapped for DDP or FSDP where there are several.

    A sharded model is moved layer by layer, each already divided, because the whole may not fit.
    """
    if world.size == 1:
        return scorer.to(world.device)
    if sharding is Sharding.DDP:
        return DistributedDataParallel(scorer.to(world.device))
    mesh = init_device_mesh(world.device.type, (world.size,))
    half = world.device.type != "cpu"
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32
    )
    blocks = set(scorer.policy._no_split_modules or ())
    for layer in [module for module in scorer.modules() if type(module).__name__ in blocks]:
        fully_shard(layer, mesh=mesh, mp_policy=precision)
    sharded: nn.Module = fully_shard(scorer, mesh=mesh, mp_policy=precision)
    return sharded


def without_reduction(scorer: nn.Module, skip: bool) -> AbstractContextManager[Any]:
    """With `skip`, gradients stay in the process until a later backward pass sums them.

    FSDP always sums them, because whole gradients would not fit.
    """
    if skip and isinstance(scorer, DistributedDataParallel):
        context: AbstractContextManager[Any] = scorer.no_sync()
        return context
    return nullcontext()
