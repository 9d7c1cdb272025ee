"""Supervised fine-tuning on the kept trajectories of a dataset version (method E3).

    L = - (1 / N) sum_t log pi(y_t | q, I, y_<t)

over the N learned tokens of a step's samples, on all processes together.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from storage.policies import PolicyVersion
from trainer.distributed import World
from trainer.optimisation import Share
from trainer.packing import deal, pack
from trainer.rows import fitting, prepared_rows, prepared_samples, sft_samples
from trainer.run import Lineage, OnEvent, TrainingRun, ignore
from trainer.samples import Sample
from trainer.settings import Names, SftConfig, Training


def train_sft(
    names: Names,
    config: SftConfig,
    world: World,
    prepared: Path | None = None,
    asked: dict[str, Any] | None = None,
    on_event: OnEvent = ignore,
) -> PolicyVersion:
    """Fine-tune the parent on the dataset's kept rows, and publish it.

    `prepared` is a file of samples for this parent; without it the recorded tokens are learned.
    `asked` says how to prompt the policy and is written into the manifest. Started again with the
    same arguments, an interrupted run resumes and ends with the same weights; a finished one
    returns its published version.

    Raises ValueError if no row is kept, and TooLong.
    """
    unread = Lineage(names, config)
    dataset, longest = unread.dataset, unread.longest(config)
    own = (
        prepared_samples(prepared, config.learn_observations, world)
        if prepared
        else sft_samples(dataset, config.learn_observations, world)
    )
    samples, longer = fitting(own, longest, config.beyond, names.store, world)
    if not samples:
        raise ValueError(f"{dataset} has no kept trajectory to train on ({longer} are too long)")
    pinned = names.model_copy(update={"dataset": str(dataset)})  # the latest may be another by now
    lineage = Lineage(pinned, config, _digest(samples, world))
    if lineage.published:
        return lineage.published
    plan = list(_plan(samples, config))
    run = TrainingRun(lineage, config, max(map(len, samples)), world, on_event)
    run.check_scores(shares(plan[0], config, world)[0].batch)
    run.resume(len(plan))
    _train(run, plan, config)
    rows = prepared_rows(prepared) if prepared else {"recorded": len(samples)}
    metrics = {"samples": len(samples), "too_long": longer, "rows": rows}
    return run.publish("sft", metrics, asked)


def _digest(samples: Sequence[Sample], world: World) -> str:
    """A digest of the samples, so that other prompts or masks give another run.

    Every process reads its share of them.
    """
    parts = world.gather([_digest_of(sample) for sample in samples[world.rank :: world.size]])
    shares = [iter(part) for part in parts]
    whole = b"".join(next(shares[number % world.size]) for number in range(len(samples)))
    return hashlib.sha256(whole).hexdigest()


def _digest_of(sample: Sample) -> bytes:
    digest = hashlib.sha256(sample.token_ids.numpy().tobytes())
    digest.update(sample.learned.numpy().tobytes())
    return digest.digest()


def _plan(samples: Sequence[Sample], config: SftConfig) -> Iterator[list[Sample]]:
    """The samples of every step: each epoch in another order; its last step may be smaller."""
    rng = random.Random(config.seed)
    for _ in range(config.epochs):
        order = rng.sample(samples, len(samples))
        for start in range(0, len(order), config.batch_samples):
            yield order[start : start + config.batch_samples]


def _train(run: TrainingRun, plan: list[list[Sample]], config: SftConfig) -> None:
    """Take the remaining steps."""
    started = time.monotonic()
    tokens = sum(len(sample) for step in plan[: run.steps] for sample in step)
    for step in plan[run.steps :]:
        loss, norm = run.optimizer.step(run.steps, shares(step, config, run.world))
        tokens += sum(map(len, step))
        report = {
            "tokens": tokens,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": config.optimizer.rate(run.steps),
            "seconds": round(time.monotonic() - started, 3),
        }
        last = run.steps + 1 == len(plan)
        run.done(report, list(map(len, step)))
        if not last and config.snapshot_every and run.steps % config.snapshot_every == 0:
            run.snapshot()


def shares(step: Sequence[Sample], config: Training, world: World) -> list[Share]:
    """This process's part of a step."""
    count = sum(sample.learned_count for sample in step)

    def loss(logprobs: Tensor) -> Tensor:
        return -logprobs.sum() / count

    batches = deal(pack(step, config.layout), world.rank, world.size)
    return [Share(batch, loss) for batch in batches]
