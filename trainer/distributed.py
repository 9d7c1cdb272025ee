"""Training in one process or many with the same code: torch's own, started by `torchrun`.

gloo on CPU, nccl on CUDA. torchrun sets environment variables with the rank of the process;
without them the run is a single process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.nn.parallel import DistributedDataParallel

from trainer.launch import FOLDER
from trainer.model import (
    Scorer,
    blocks_of,
    empty_policy,
    load_policy,
    recompute_activations,
)
from trainer.settings import ModelConfig, Sharding
from trainer.sizing import USABLE, Holding

T = TypeVar("T")


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


def open_scorer(
    folder: Path, config: ModelConfig, holding: Holding, seed: int, world: World
) -> nn.Module:
    """The scorer of a model folder on this process's device, held as chosen.

    A sharded model is divided before its weights are loaded. Then the leading process alone reads
    the files, into the host's memory, and sends each tensor to all others, which keep their share.
    So a device holds no more than its share and one tensor, and a machine one whole model. Raises
    UnsupportedModel.
    """
    if holding.sharding is Sharding.DDP or world.size == 1:
        return distribute(_scorer(load_policy(folder, config, seed), config, holding, world), world)
    empty = _scorer(empty_policy(folder, config, seed), config, holding, world)
    sharded = shard(empty, world, holding.sharding, config.float32_head)
    source = Scorer(load_policy(folder, config, seed)) if world.leads else None
    fill(sharded, source, world, holding.sharding)
    return sharded


def uses_half(config: ModelConfig, device: torch.device) -> bool:
    return device.type != "cpu" if config.bfloat16 is None else config.bfloat16


def _scorer(policy: Any, config: ModelConfig, holding: Holding, world: World) -> Scorer:
    if holding.gradient_checkpointing:
        recompute_activations(policy)
    return Scorer(policy, uses_half(config, world.device), config.float32_head)


def distribute(scorer: Scorer, world: World) -> nn.Module:
    """The whole scorer on this process's device, wrapped for DDP where there are several."""
    if world.size == 1:
        return scorer.to(world.device)
    return DistributedDataParallel(scorer.to(world.device), gradient_as_bucket_view=True)


def shard(scorer: Scorer, world: World, sharding: Sharding, float32_head: bool) -> nn.Module:
    """The scorer divided among the processes, layer by layer."""
    mesh = init_device_mesh(world.device.type, (world.size,))
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if scorer.half else None, reduce_dtype=torch.float32
    )
    pinned = world.device.type != "cpu"
    place = CPUOffloadPolicy(pin_memory=pinned) if sharding is Sharding.OFFLOAD else OffloadPolicy()
    if float32_head:
        head = scorer.policy.get_output_embeddings()
        # Its logits are made piece by piece, so it stays whole in between.
        fully_shard(head, mesh=mesh, offload_policy=place, reshard_after_forward=False)
    for layer in blocks_of(scorer.policy):
        fully_shard(layer, mesh=mesh, mp_policy=precision, offload_policy=place)
    sharded: nn.Module = fully_shard(scorer, mesh=mesh, mp_policy=precision, offload_policy=place)
    return sharded


def fill(sharded: nn.Module, source: Scorer | None, world: World, sharding: Sharding) -> None:
    """Give an empty sharded scorer the weights of `source`, which the leading process has."""
    home = torch.device("cpu") if sharding is Sharding.OFFLOAD else world.device
    sharded._apply(
        lambda tensor: (
            torch.empty_like(tensor, device=home) if tensor.is_meta else tensor.to(world.device)
        )
    )
    set_model_state_dict(
        sharded,
        source.state_dict() if source is not None else {},
        options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True),
    )


def memory_of(world: World) -> float:
    """Bytes that one process may use."""
    if world.device.type == "cuda":
        return USABLE * float(torch.cuda.get_device_properties(world.device).total_memory)
    pages: float = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return USABLE * pages / world.size


def bare(scorer: nn.Module) -> Scorer:
    """The scorer inside its wrapper."""
    found: Scorer = scorer.module if isinstance(scorer, DistributedDataParallel) else scorer
    return found


def without_reduction(scorer: nn.Module, skip: bool) -> AbstractContextManager[Any]:
    """With `skip`, gradients stay in the process until a later backward pass sums them.

    FSDP always sums them, because whole gradients would not fit.
    """
    if skip and isinstance(scorer, DistributedDataParallel):
        context: AbstractContextManager[Any] = scorer.no_sync()
        return context
    return nullcontext()
