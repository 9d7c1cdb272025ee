"""Runs one training job in child processes, and defines the callbacks of every training."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.terminal.progress import ProgressDisplay, ProgressLine
from flows.training.launching import JobFailed, run_supervised, trainer_command
from flows.training.machines import Machines
from flows.training.metrics import Log, metrics_library, metrics_run
from storage.calls import SECONDS_BETWEEN_NOTES, CallNote
from storage.leases import BEAT_SECONDS, LEASES, SILENCE_SECONDS, Claim, Lease
from storage.policies import Policies, PolicyVersion
from tirgen.jobs.progress import GenerationProgress, RolloutProgress
from tirgen.jobs.shards import POLL_SECONDS, WHOLE
from tirgen.jobs.workers import task_group

if TYPE_CHECKING:  # needs torch
    from flows.training.improve import Stage
    from flows.training.rounds import Round
    from trainer.job import RlJob, SftJob

Limit = Callable[[], AbstractAsyncContextManager[Any]]
"""Bounds how many may do something at once, for example by a concurrency limit of Prefect."""


@dataclass(slots=True)
class Steps:
    """How far a training job is."""

    total: int = 0
    """Optimiser steps of the whole job; 0 while it loads."""
    done: int = 0
    done_before: int = 0
    """Steps of earlier calls."""
    last: dict[str, Any] = field(default_factory=dict)
    """What the trainer reported about the last step: loss, gradient norm and so on."""

    def update(self, event: dict[str, Any]) -> None:
        """Take in one event of the trainer (`trainer.run.OnEvent`)."""
        match event["event"]:
            case "began":
                self.total, self.done = event["steps"], event["done"]
                self.done_before = self.done
            case "step":
                self.done = event["step"]
                self.last = {name: value for name, value in event.items() if name != "event"}

    def line(self) -> ProgressLine:
        parts = []
        if "loss" in self.last:
            parts.append(f"loss {self.last['loss']:.4g}")
        if "mfu" in self.last:
            parts.append(f"{self.last['tokens_per_second']:,.0f} tokens/s")
            parts.append(f"MFU {self.last['mfu']:.0%}")
        return ProgressLine(self.done, self.total or None, ", ".join(parts))

    def document(self) -> dict[str, Any]:
        """The same for other processes (`storage.calls`)."""
        return {
            "done": self.done,
            "total": self.total,
            "done_before": self.done_before,
            "unit": "optimiser steps",
        }


def steps_display(title: str) -> ProgressDisplay[Steps]:
    """Shows a training job in the terminal."""
    return ProgressDisplay(title, Steps.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Callbacks of a training, a round of RL or the whole loop; by default they do nothing."""

    part: Callable[[str], None] = lambda name: None
    """A part of the whole loop begins."""
    generation: Callable[[GenerationProgress], None] = lambda progress: None
    rollouts: Callable[[RolloutProgress], None] = lambda progress: None
    steps: Callable[[Steps], None] = lambda steps: None
    snapshot: Callable[[Path], None] = lambda folder: None
    """The folder of the weights at some step before the end."""
    round: Callable[[Round], None] = lambda finished: None
    """A round of RL has ended."""
    stage: Callable[[Stage], None] = lambda stage: None
    """A stage of the whole loop has been evaluated."""
    note: Callable[[str], None] = lambda sentence: None
    """A sentence for people: which rows are used, how the model is held in memory and why."""
    log: Callable[[str], None] = lambda line: None
    """Every line that the trainer prints."""
    engine: Limit = nullcontext
    """Entered while the engine is sampled."""
    gpu: Limit = nullcontext
    """Entered while a policy is trained."""


NO_HOOKS = Hooks()


async def train(
    job: SftJob | RlJob,
    processes: int = 1,
    hooks: Hooks = NO_HOOKS,
    machines: Machines | None = None,
) -> PolicyVersion:
    """Run the job in child processes, and return the version that it published.

    `processes` are those of each machine; with `machines` this one leads the others.

    Started again, an interrupted job continues from its last checkpoint and a finished one returns
    its version. Raises `JobFailed`, and what `metrics_run` raises.
    """
    metrics_library()
    steps = Steps()
    work: asyncio.Future[Path] = asyncio.get_running_loop().create_future()
    about = {"kind": job.kind, **job.names.model_dump(include={"parent", "dataset"})}
    measured: Log | None = None

    def take(line: str) -> None:
        nonlocal measured
        hooks.log(line)
        if line.startswith('{"event"'):
            event = json.loads(line)
            match event["event"]:
                case "snapshot":
                    hooks.snapshot(Path(event["folder"]))
                case "holding":
                    hooks.note(event["reason"])
                case "slow_bfloat16":
                    hooks.note(_slow_bfloat16(event["gain"]))
                case "began":
                    folder = Path(event["work"])
                    work.set_result(folder)
                    run = metrics_run(f"{job.names.policy}/{folder.name}", about)
                    measured = stack.enter_context(run)
                case "step":
                    assert measured is not None, "a step came before the training began"
                    measured(event, event["step"])
                case "packed":
                    hooks.note(_shared(event["tokens"], event["computed_tokens"]))
            steps.update(event)
            hooks.steps(steps)

    with ExitStack() as stack, tempfile.TemporaryDirectory() as temporary:
        if machines:
            path = stack.enter_context(machines.handed_out(job))
        else:
            path = Path(temporary) / "job.json"
            path.write_text(job.model_dump_json())
        command = trainer_command(path, processes, machines.meeting if machines else None)
        async with _recorded(work, lambda: about | steps.document()):
            last_line = await run_supervised(command, take)
    return Policies(job.names.store).version(last_line)


@asynccontextmanager
async def _recorded(
    work: asyncio.Future[Path], document: Callable[[], dict[str, Any]]
) -> AsyncIterator[None]:
    """Lease a training's folder once it is known, and write `document` there until the block ends.

    The block is cancelled by JobFailed where another process holds the lease.
    """
    lease: Lease | None = None
    note: CallNote | None = None
    error: BaseException | None = None

    async def follow() -> None:
        nonlocal lease, note
        folder = await work
        lease = await _claimed(folder / LEASES)
        note = CallNote(folder)
        while True:
            note.write(document())
            await asyncio.sleep(SECONDS_BETWEEN_NOTES)

    try:
        async with task_group() as group:
            task = group.create_task(follow())
            try:
                yield
            finally:
                task.cancel()
    except BaseException as cause:
        error = cause
        raise
    finally:
        if note:
            with suppress(OSError):  # a full disk must not hide why the training ended
                note.write(document(), ended=True, error=error)
        if lease:
            lease.release()


async def _claimed(folder: Path) -> Lease:
    """Raises JobFailed where another process is at work; one that ended is waited for."""
    claim, patience = Claim(folder, WHOLE.name), SILENCE_SECONDS + BEAT_SECONDS
    began = time.monotonic()
    while not isinstance(granted := claim.attempt(), Lease):
        if granted.is_dead is False or time.monotonic() - began > patience:
            raise JobFailed(
                f"{granted} trains this policy already",
                "tirgen watch shows how far it is; the same command then finds its version",
            )
        await asyncio.sleep(POLL_SECONDS)
    return granted


def _slow_bfloat16(gain: float) -> str:
    return (
        f"matrix products in bfloat16 take {1 / gain:.0f} times as long as in float32 on this "
        "processor, which has no instructions for them: set model.bfloat16 = false"
    )


def _shared(tokens: int, computed: int) -> str:
    once = f", {1 - computed / tokens:.0%} in shared prefixes computed once" if tokens else ""
    return f"{tokens:,} tokens{once}"
