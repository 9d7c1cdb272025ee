"""One process, DDP and FSDP2 end in the same weights, whatever each process gets to do."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from storage.datasets import Store
from storage.policies import Policies
from storage.records import Level
from tests.trainer.tiny_policy import publish, round_rows, weights_of
from trainer.distributed import World
from trainer.job import RlJob, SftJob
from trainer.settings import (
    LoraConfig,
    ModelConfig,
    Names,
    OptimizerConfig,
    Packing,
    RlConfig,
    SftConfig,
    Sharding,
)

RANKS = Path(__file__).with_name("ranks.py")
FAST = OptimizerConfig(learning_rate=1e-3)
SHARDED = (Sharding.FSDP, Sharding.OFFLOAD)
UNEVEN = Packing(row_tokens=32, batch_tokens=64)
"""Some updates make an odd number of micro-batches."""


@pytest.fixture(scope="module")
def jobs(
    policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[Sharding, RlJob | SftJob]]:
    """Every case by sharding, already run by two processes."""
    store = Store(tmp_path_factory.mktemp("ranks") / "store")
    rows = round_rows(policy, groups=5, step_groups=3)
    datasets = {
        "both": publish(store, rows),
        # One short micro-batch: one process has it, the other nothing; no step level.
        "few": publish(store, [row for row in rows if row.level is Level.TRAJECTORY][:4]),
    }

    def names(case: str, sharding: Sharding, dataset: str) -> Names:
        return Names(
            store=store.root,
            policy=f"{case}-{sharding.value}",
            parent=str(policy),
            dataset=str(datasets[dataset]),
        )

    def rl(
        case: str,
        sharding: Sharding,
        packing: Packing,
        model: ModelConfig = ModelConfig(),  # noqa: B008 - immutable
    ) -> RlJob:
        config = RlConfig(
            optimizer=FAST, packing=packing, sharding=sharding, updates=3, model=model
        )
        dataset = case if case in datasets else "both"
        return RlJob(kind="rl", names=names(case, sharding, dataset), config=config)

    def sft(sharding: Sharding, model: ModelConfig) -> SftJob:
        config = SftConfig(
            optimizer=FAST, packing=UNEVEN, sharding=sharding, batch_samples=5, model=model
        )
        case = "lora" if model.lora else "sft"
        return SftJob(kind="sft", names=names(case, sharding, "both"), config=config)

    recomputed = ModelConfig(gradient_checkpointing=True)
    adapted = ModelConfig(lora=LoraConfig(rank=4))
    half = ModelConfig(bfloat16=True, float32_head=True, gradient_checkpointing=True)
    found: dict[str, dict[Sharding, RlJob | SftJob]] = {
        "both": {sharding: rl("both", sharding, UNEVEN) for sharding in Sharding},
        "few": {sharding: rl("few", sharding, Packing()) for sharding in Sharding},
        "sft": {Sharding.DDP: sft(Sharding.DDP, recomputed)},
        "lora": {Sharding.FSDP: sft(Sharding.FSDP, adapted)},
        "half": {sharding: rl("half", sharding, UNEVEN, half) for sharding in SHARDED},
    }
    _run_on_two([job for case in found.values() for job in case.values()], store.root)
    return found


def _run_on_two(all_jobs: list[RlJob | SftJob], folder: Path) -> None:
    paths = []
    for number, job in enumerate(all_jobs):
        paths.append(folder / f"job-{number}.json")
        paths[-1].write_text(job.model_dump_json())
    command = [sys.executable, "-m", "trainer.launch", "2", str(RANKS), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


def weights(job: RlJob | SftJob) -> dict[str, torch.Tensor]:
    return weights_of(Policies(job.names.store).version(job.names.policy).path)


def alone(job: RlJob | SftJob, world: World) -> dict[str, torch.Tensor]:
    """The same job in this process."""
    names = job.names.model_copy(update={"policy": f"alone-{job.names.policy}"})
    return weights_of(job.model_copy(update={"names": names}).run(world).path)


@pytest.mark.parametrize(
    ("case", "sharding"),
    [
        ("both", Sharding.DDP),
        ("both", Sharding.FSDP),
        ("both", Sharding.OFFLOAD),
        ("few", Sharding.DDP),
        ("few", Sharding.FSDP),
        ("few", Sharding.OFFLOAD),
        ("sft", Sharding.DDP),
        ("lora", Sharding.FSDP),
    ],
)
def test_two_processes_end_where_one_does(
    jobs: dict[str, dict[Sharding, RlJob | SftJob]], world: World, case: str, sharding: Sharding
) -> None:
    job = jobs[case][sharding]
    wanted, found = alone(job, world), weights(job)
    assert set(found) == set(wanted)
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)


def test_the_updates_were_far_larger_than_the_tolerance(
    jobs: dict[str, dict[Sharding, RlJob | SftJob]], policy: Path
) -> None:
    before = weights_of(policy)
    for case in jobs.values():
        after = weights(next(iter(case.values())))
        moved = max((after[name] - before[name]).abs().max().item() for name in before)
        assert moved > 1e-3 * 0.9


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDED)
def test_bfloat16_shares_with_a_float32_head_learn_as_one_process_does(
    jobs: dict[str, dict[Sharding, RlJob | SftJob]], world: World, sharding: Sharding
) -> None:
    """The head is a share of its own, in float32; losses agree within bfloat16's rounding."""
    job = jobs["half"][sharding]
    alone(job, world)
    policies = Policies(job.names.store)
    two, one = (
        policies.version(name).manifest["metrics"]["last_step"]["loss"]
        for name in (job.names.policy, f"alone-{job.names.policy}")
    )
    assert two == pytest.approx(one, abs=0.02)


def test_both_processes_report_as_one(
    jobs: dict[str, dict[Sharding, RlJob | SftJob]], world: World
) -> None:
    job = jobs["both"][Sharding.FSDP]
    alone(job, world)
    policies = Policies(job.names.store)
    two, one = (
        policies.version(name).manifest["metrics"]["last_step"]
        for name in (job.names.policy, f"alone-{job.names.policy}")
    )
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-6)
    for level, statistics in one["levels"].items():
        assert two["levels"][level] == pytest.approx(statistics, abs=1e-5)


def test_one_process_goes_on_from_the_checkpoint_of_two(
    jobs: dict[str, dict[Sharding, RlJob | SftJob]], world: World
) -> None:
    """As after a move to a smaller machine: the last step was taken, nothing is published yet."""
    job = jobs["both"][Sharding.FSDP]
    before = weights(job)
    shutil.rmtree(Policies(job.names.store).version(job.names.policy).path)
    job.run(world)
    for name, weight in weights(job).items():
        assert torch.equal(weight, before[name])


def test_the_processes_open_no_port_to_the_network(tmp_path: Path) -> None:
    program = tmp_path / "listening.py"
    program.write_text(LISTENING)
    command = [sys.executable, "-m", "trainer.launch", "2", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    addresses = set(done.stdout.split())
    assert addresses, "gloo listens somewhere, or nothing was measured"
    assert addresses <= {"127.0.0.1"}


LISTENING = """
import os, psutil, torch
from trainer.distributed import joined
with joined() as world:
    assert world.sum(torch.ones(1)) == 2
    for pid in (os.getpid(), os.getppid()):
        for one in psutil.Process(pid).net_connections():
            if one.status == psutil.CONN_LISTEN:
                os.write(1, f"{one.laddr.ip}\\n".encode())  # whole: two processes write here
    world.wait()
"""
"""Prints the addresses at which torchrun and its processes listen."""
