"""A training run: from a parent policy in resumable steps to a published policy version.

The run's folder is named by a fingerprint of everything that determines its result. So the same job
started again resumes from its last checkpoint, or finds its published version.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from transformers import AutoConfig

from storage import documents, files, views
from storage.datasets import Store
from storage.documents import fingerprint
from storage.errors import ObjectStoreError
from storage.names import portable_name
from storage.places import mirror_of
from storage.policies import LINEAGE, Policies, PolicyVersion
from storage.versions import DatasetVersion
from trainer import checkpoint
from trainer.agreement import check_scores
from trainer.distributed import World, bare, memory_of, open_scorer, uses_half
from trainer.history import HISTORY, History, read_history
from trainer.model import empty_policy, size_of
from trainer.optimisation import Optimizer
from trainer.packing import Batch
from trainer.publish import gather, write_model
from trainer.settings import Names, Training
from trainer.sizing import Holding, Size, choose
from trainer.throughput import bfloat16_gain, matrix_peak

CHECKPOINTS = "checkpoints"
SNAPSHOTS = "snapshots"

OnEvent = Callable[[dict[str, Any]], None]
"""Receives the events of a run as JSON objects; called only by the leading process.

``event`` is one of: ``packed``, the tokens of an RL round and how many of them are computed;
``holding``, how the model is held in memory and why; ``slow_bfloat16``, where the chosen bfloat16
is slower than float32; ``agreed``, the difference between the scores of trainer and model on the
first batch, in nats per token; ``began``, the run's folder and number of steps; ``step``, the
record of the history, tokens per second and MFU; ``snapshot``, the step and the model's folder.
"""


def ignore(event: dict[str, Any]) -> None:
    """An `OnEvent` that does nothing."""


@dataclass(frozen=True)
class Lineage:
    """The names of a run, resolved when it starts, and its configuration."""

    names: Names
    config: BaseModel
    samples: str = ""
    """Digest of the training samples, where the dataset version alone does not determine them."""

    @cached_property
    def policies(self) -> Policies:
        return Policies(self.names.store)

    @cached_property
    def parent(self) -> PolicyVersion | None:
        """The parent if it is a published policy, None if it is a folder."""
        name = self.names.parent
        return None if _is_folder(name) else self.policies.version(name)

    @cached_property
    def parent_folder(self) -> Path:
        return self.folder_of(self.names.parent)

    def folder_of(self, policy: str) -> Path:
        """The model's folder of a policy version, or of a folder's name."""
        if _is_folder(policy):
            return Path(policy).absolute()
        return self.policies.version(policy).fetched()

    @cached_property
    def parent_name(self) -> str:
        """The recorded name of the parent: the same on every machine."""
        if self.parent:
            return str(self.parent)
        return portable_name(self.parent_folder, self.names.store)

    @cached_property
    def dataset(self) -> DatasetVersion:
        return Store(self.names.store).version(self.names.dataset)

    @cached_property
    def described(self) -> dict[str, Any]:
        """Everything that determines the result."""
        return {
            "parent": self.parent_name,
            "dataset": str(self.dataset),
            "samples": self.samples,
            # A folder of prompts decides by its texts, which are in the samples.
            "config": self.config.model_dump(mode="json", exclude={"prompts"}),
        }

    @cached_property
    def config_hash(self) -> str:
        return fingerprint(self.described)

    @property
    def published(self) -> PolicyVersion | None:
        """The version that this run has published, or None."""
        return self.policies.made_by(self.names.policy, self.config_hash)

    def longest(self, config: Training) -> int | None:
        """Largest number of tokens of a sample; None for a model without a context limit."""
        shape = AutoConfig.from_pretrained(self.parent_folder)
        context: int | None = getattr(shape, "max_position_embeddings", None)
        return config.maximum_length or context

    @property
    def work(self) -> Path:
        return self.policies.work(self.names.policy, self.config_hash)


def _is_folder(policy: str) -> bool:
    return (Path(policy) / "config.json").exists()


def sized(folder: Path, config: Training, longest: int, world: World) -> Size:
    """The size of a model; `longest` is the length of the longest document, which may exceed a
    micro-batch. Raises UnsupportedModel."""
    empty = empty_policy(folder, config.model, config.seed)
    tokens = max(config.layout.batch_tokens, longest)
    return size_of(empty, tokens, uses_half(config.model, world.device))


def hold(size: Size, config: Training, world: World) -> Holding:
    """How a model is held in memory."""
    again = config.model.gradient_checkpointing
    return choose(size, memory_of(world), world.size, config.sharding, again)


def _told(holding: Holding) -> dict[str, Any]:
    return {**holding._asdict(), "memory": holding.memory._asdict()}


class TrainingRun:
    """The state of a run between steps: weights, moments, finished steps and their history."""

    def __init__(
        self,
        lineage: Lineage,
        config: Training,
        longest: int,
        world: World,
        on_event: OnEvent = ignore,
    ) -> None:
        """Load the parent's weights. `longest` is the length of the longest sample in tokens."""
        local = int(os.environ.get("LOCAL_WORLD_SIZE", world.size))
        if local != world.size and mirror_of(lineage.names.store):
            raise ObjectStoreError(
                "a training on several machines writes its checkpoints together, which a store in "
                "a bucket cannot take",
                "train on one machine, or with a store on a file system that all of them share",
            )
        self.world = world
        self._on_event = on_event if world.leads else ignore
        self.steps = 0
        self._lineage = lineage
        self._config = config
        self._size = sized(lineage.parent_folder, config, longest, world)
        holding = hold(self._size, config, world)
        self._on_event({"event": "holding", **_told(holding)})
        if world.leads and self._size.half and (gain := bfloat16_gain(world.device)) < 1:
            self._on_event({"event": "slow_bfloat16", "gain": gain})
        self.scorer = open_scorer(lineage.parent_folder, config.model, holding, config.seed, world)
        self._policy = bare(self.scorer).policy
        self.optimizer = Optimizer(self.scorer, config.optimizer, world)

    def check_scores(self, batch: Batch[Any]) -> None:
        """Check the trainer's scores against the model's own (`trainer.agreement`).

        Every process calls it at the same time with its own batch. Raises ModelMismatch.
        """
        kind = f"{self._policy.config.model_type} models ({self._lineage.parent_name})"
        gap = check_scores(self.scorer, batch, kind, self.world)
        self._on_event({"event": "agreed", "gap": gap})

    def resume(self, steps: int) -> None:
        """Load the newest checkpoint, if there is one. `steps` is the total number of steps."""
        self._planned = steps
        if found := checkpoint.newest(self._checkpoints):
            self.steps, path = found
            checkpoint.load(path, self.optimizer)
        if self.world.leads:
            files.make_folder(self._lineage.work)
            described = documents.dump(self._lineage.described)
            files.write_atomic(self._lineage.work / LINEAGE, described)
            self._history = History(self._lineage.work / HISTORY, self.steps)
        self._peak: float | None = None
        self._began = time.monotonic()
        work = str(self._lineage.work)
        self._on_event({"event": "began", "work": work, "steps": steps, "done": self.steps})

    def carry_moments(self) -> None:
        """Load AdamW's moments from the run that made the parent.

        Raises FileNotFoundError if that run's checkpoint is gone.
        """
        parent = self._lineage.parent
        if parent is None:
            raise FileNotFoundError(f"{self._lineage.parent_folder} is no policy of the store")
        work = self._lineage.policies.work(parent.policy, parent.manifest["config_hash"])
        found = checkpoint.newest(work / CHECKPOINTS)
        if found is None:
            raise FileNotFoundError(
                f"the moments of {parent} are no longer in {work / CHECKPOINTS} (keep_moments says "
                "for how many versions they are kept); set carry_moments = false to start with "
                "zero moments"
            )
        checkpoint.load(found[1], self.optimizer, moments_only=True)

    def done(self, report: dict[str, Any], lengths: Sequence[int]) -> None:
        """Record a finished step, and save a checkpoint where one is due.

        `lengths` are those of all rows or trees that the step computed, for its speed, which is
        reported and not recorded.
        """
        self.steps += 1
        record = {"step": self.steps, **report}
        if self.world.leads:
            self._history.append(record)
        self._on_event({"event": "step", **record, **self._speed(lengths)})
        if self.steps == self._planned or self.steps % self._config.checkpoint_every == 0:
            kept = self._config.keep_checkpoints
            checkpoint.save(self._checkpoints, self.steps, self.optimizer, kept)
        self._began = time.monotonic()

    def _speed(self, lengths: Sequence[int]) -> dict[str, float]:
        """Tokens per second and MFU of the step that ended now."""
        if not self.world.leads:
            return {}
        seconds = time.monotonic() - self._began
        if self._peak is None:
            self._peak = matrix_peak(self.world.device, self._size.half)
        work = sum(length * self._size.flops(length) for length in lengths)
        return {
            "tokens_per_second": sum(lengths) / seconds,
            "mfu": work / (seconds * self.world.size * self._peak),
        }

    def snapshot(self) -> None:
        """Write the current weights as a model folder, for an evaluation during training.

        Every process calls it at the same time. A folder from an earlier call is kept.
        """
        folder = self._lineage.work / SNAPSHOTS / f"step-{self.steps}"
        state = gather(self.scorer, self._config.model.lora)
        if not self.world.leads:
            return
        if not folder.exists():
            files.make_folder(folder.parent)
            with files.temporary_for(folder) as temporary:
                temporary.mkdir()
                write_model(temporary, state, self._policy, self._lineage.parent_folder)
                files.place_new_folder(temporary, folder)
        self._on_event({"event": "snapshot", "step": self.steps, "folder": str(folder)})

    def publish(
        self, kind: str, metrics: dict[str, Any], asked: dict[str, Any] | None = None
    ) -> PolicyVersion:
        """Publish the weights as the policy's next version; every process calls it.

        The manifest has `metrics` and the record of the last step. `asked` says how to prompt the
        policy; by default like its parent.
        """
        lineage = self._lineage
        state = gather(self.scorer, self._config.model.lora)
        described: dict[str, Any] = {
            "kind": kind,
            "config_hash": lineage.config_hash,
            "asked": asked or (lineage.parent.manifest.get("asked") if lineage.parent else None),
            **lineage.described,
        }

        def write(folder: Path) -> None:
            half = self._config.publish_bfloat16
            write_model(folder, state, self._policy, lineage.parent_folder, half)

        if self.world.leads:
            last = read_history(lineage.work / HISTORY)[-1]
            described["metrics"] = {**metrics, "last_step": last}
            lineage.policies.publish(lineage.names.policy, write, described)
            views.refresh(lineage.names.store)
            self._prune()
        self.world.wait()
        published = lineage.published
        assert published is not None
        return published

    def _prune(self) -> None:
        """Remove the checkpoints of published runs whose moments no next round needs."""
        policies, name = self._lineage.policies, self._lineage.names.policy
        published = policies.versions(name)[::-1]
        carried = [version for version in published if version.manifest["kind"] == "rl"]
        for version in published:
            if version not in carried[: self._config.keep_moments]:
                work = policies.work(name, version.manifest["config_hash"])
                files.remove_folder(work / CHECKPOINTS)

    @property
    def _checkpoints(self) -> Path:
        return self._lineage.work / CHECKPOINTS
