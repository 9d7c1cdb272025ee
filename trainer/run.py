"""A training run: from a parent policy through resumable steps to a published policy version.

The run's folder in the store is named by the hash of all that determines its result, so that the
same job started again goes on from its last checkpoint, or finds that it is already done.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from transformers import AutoConfig

from storage import files, views
from storage.datasets import Store
from storage.model_names import portable_name
from storage.names import fingerprint
from storage.policies import Policies, PolicyVersion
from storage.versions import DatasetVersion
from trainer import checkpoint
from trainer.agreement import require_own_scores
from trainer.distributed import Sharding, World, distribute
from trainer.history import History, read_history
from trainer.model import ModelConfig, Scorer, load_policy, recompute_activations
from trainer.optimisation import Optimizer, OptimizerConfig
from trainer.packing import Batch, Packing
from trainer.publish import gather, write_model
from trainer.samples import Beyond
from trainer.sizing import Holding, choose, memory_of, size_of

HISTORY = "history.jsonl"
CHECKPOINTS = "checkpoints"
SNAPSHOTS = "snapshots"

Tell = Callable[[dict[str, Any]], None]
"""Hears what happens in a run, as objects fit for JSON with an ``event``: ``holding`` with how the
model is held in memory and a sentence that says why, ``agreed`` with how far the trainer's scores
of the first batch are from the model's own in nats a token, ``began`` with the run's folder and its
number of steps, ``step`` with what the history records, ``snapshot`` with a step and a model's
folder. Called by the leading process only."""


def silent(event: dict[str, Any]) -> None:
    """A `Tell` for those who do not listen."""


class Names(BaseModel):
    """What a run reads and what it publishes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    store: Path
    policy: str
    """The name under which the result becomes the next version."""
    parent: str
    """A policy version as ``name@v3``, the latest of a name, or the folder of a model."""
    dataset: str
    """A dataset version as ``name@v3``, or the latest of a name."""


@dataclass(frozen=True)
class Lineage:
    """The names as what they stand for when the run starts, and its configuration."""

    names: Names
    config: BaseModel
    samples: str = ""
    """Digest of what is trained on, where the dataset version alone does not say it."""

    @cached_property
    def policies(self) -> Policies:
        return Policies(self.names.store)

    @cached_property
    def parent(self) -> PolicyVersion | None:
        """The parent where it is a published policy, not just a folder."""
        return None if self._is_folder else self.policies.version(self.names.parent)

    @cached_property
    def parent_folder(self) -> Path:
        return self.parent.path if self.parent else Path(self.names.parent).absolute()

    @cached_property
    def parent_name(self) -> str:
        """The parent, for people and for lineage: the same on every machine."""
        if self.parent:
            return str(self.parent)
        return portable_name(self.parent_folder, self.names.store)

    @cached_property
    def dataset(self) -> DatasetVersion:
        return Store(self.names.store).version(self.names.dataset)

    @property
    def _is_folder(self) -> bool:
        return (Path(self.names.parent) / "config.json").exists()

    @cached_property
    def described(self) -> dict[str, Any]:
        """What determines the result."""
        return {
            "parent": self.parent_name,
            "dataset": str(self.dataset),
            "samples": self.samples,
            "config": self.config.model_dump(mode="json"),
        }

    @cached_property
    def config_hash(self) -> str:
        return fingerprint(self.described)

    @property
    def published(self) -> PolicyVersion | None:
        """What this run published already."""
        return self.policies.made_by(self.names.policy, self.config_hash)

    def longest(self, config: Training) -> int | None:
        """Most tokens of a sample; None for a model that knows no end of its context."""
        shape = AutoConfig.from_pretrained(self.parent_folder)
        context: int | None = getattr(shape, "max_position_embeddings", None)
        return config.maximum_length or context

    @property
    def work(self) -> Path:
        return self.policies.work(self.names.policy, self.config_hash)


class Training(BaseModel):
    """What every run is configured with; each kind adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seed: int = 0
    optimizer: OptimizerConfig
    packing: Packing = Packing()
    model: ModelConfig = ModelConfig()
    sharding: Sharding | None = None
    """``ddp``: every process holds the whole model; ``fsdp``: its share. By default the former
    where it fits."""
    maximum_length: int | None = Field(None, ge=2)
    """Most tokens of a sample, prompt included; by default the model's context."""
    beyond: Beyond = Beyond.DROP
    """What becomes of longer ones: ``drop``, ``truncate`` or ``refuse``."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between two checkpoints; after the last step there is always one. Each holds weights
    and moments: 12 bytes a parameter."""
    keep_checkpoints: int = Field(1, ge=1)
    """Of a run that is under way, so many of the newest."""
    keep_moments: int = Field(1, ge=0)
    """So many of the policy's newest published versions keep their last checkpoint, where the next
    round takes its moments over from; those of older ones are removed."""

    @property
    def layout(self) -> Packing:
        """The packing that the attention kernel can read."""
        flash = "flash" in (self.model.attention or "")
        return self.packing.in_one_row() if flash else self.packing


class Run:
    """The state of a run between steps: weights, moments, steps done, reports."""

    def __init__(
        self, lineage: Lineage, config: Training, world: World, tell: Tell = silent
    ) -> None:
        """Begins with the parent's weights."""
        self.world = world
        self._tell = tell if world.leads else silent
        self.steps = 0
        self._lineage = lineage
        self._config = config
        self._policy = load_policy(lineage.parent_folder, config.model, config.seed)
        holding = self._holding()
        self.scorer = distribute(Scorer(self._policy), world, holding.sharding)
        self.optimizer = Optimizer(self.scorer, config.optimizer, world)

    def _holding(self) -> Holding:
        """How the model is held; said, and done as far as the model itself is concerned."""
        config, world = self._config, self.world
        size = size_of(self._policy, config.layout.batch_tokens, world.device)
        chosen = choose(
            size,
            memory_of(world),
            world.size,
            config.sharding,
            config.model.gradient_checkpointing,
        )
        self._tell({"event": "holding", **chosen._asdict()})
        if chosen.gradient_checkpointing:
            recompute_activations(self._policy)
        return chosen

    def require_own_scores(self, batch: Batch[Any]) -> None:
        """Stop before the first step if the trainer does not compute what the model says.

        Called by every process at once, with a batch of its own. Raises ModelMismatch.
        """
        kind = f"{self._policy.config.model_type} models ({self._lineage.parent_name})"
        gap = require_own_scores(self.scorer, batch, kind, self.world)
        self._tell({"event": "agreed", "gap": gap})

    def resume(self, steps: int) -> None:
        """Go on from the newest checkpoint, if there is one; the run will have so many steps."""
        self._planned = steps
        if found := checkpoint.newest(self._checkpoints):
            self.steps, path = found
            checkpoint.load(path, self.optimizer)
        if self.world.leads:
            files.make_folder(self._lineage.work)
            self._history = History(self._lineage.work / HISTORY, self.steps)
        work = str(self._lineage.work)
        self._tell({"event": "began", "work": work, "steps": steps, "done": self.steps})

    def carry_moments(self) -> None:
        """Take AdamW's moments over from the run that made the parent.

        Raises FileNotFoundError where that run's checkpoint is gone.
        """
        parent = self._lineage.parent
        if parent is None:
            raise FileNotFoundError(f"{self._lineage.parent_folder} is no policy of the store")
        work = self._lineage.policies.work(parent.policy, parent.manifest["config_hash"])
        found = checkpoint.newest(work / CHECKPOINTS)
        if found is None:
            raise FileNotFoundError(
                f"the moments of {parent} are not in {work / CHECKPOINTS} any more (keep_moments "
                "says for how many versions they stay); set carry_moments = false to begin with "
                "fresh ones"
            )
        checkpoint.load(found[1], self.optimizer, moments_only=True)

    def done(self, report: dict[str, Any]) -> None:
        """One more step was taken."""
        self.steps += 1
        record = {"step": self.steps, **report}
        if self.world.leads:
            self._history.append(record)
        self._tell({"event": "step", **record})
        if self.steps == self._planned or self.steps % self._config.checkpoint_every == 0:
            kept = self._config.keep_checkpoints
            checkpoint.save(self._checkpoints, self.steps, self.optimizer, kept)

    def snapshot(self) -> None:
        """Leave the weights of now as a model's folder, for an evaluation beside the training.

        Called by every process at once; what an earlier call left is taken as it is.
        """
        folder = self._lineage.work / SNAPSHOTS / f"step-{self.steps}"
        state = gather(self.scorer, self._config.model.lora)
        if not self.world.leads:
            return
        if not folder.exists():
            files.make_folder(folder.parent)
            with files.removed_on_failure(files.temporary_beside(folder)) as temporary:
                temporary.mkdir()
                write_model(temporary, state, self._policy, self._lineage.parent_folder)
                files.place_new_folder(temporary, folder)
        self._tell({"event": "snapshot", "step": self.steps, "folder": str(folder)})

    def publish(
        self, kind: str, metrics: dict[str, Any], asked: dict[str, Any] | None = None
    ) -> PolicyVersion:
        """Make the weights the policy's next version; called by every process at once.

        Its metrics are those given and the report of the last step. `asked` says how the policy is
        to be asked; by default as its parent.
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
            write_model(folder, state, self._policy, lineage.parent_folder)

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
        """Remove the checkpoints of published runs that no next round begins with."""
        policies, name = self._lineage.policies, self._lineage.names.policy
        published = policies.versions(name)[::-1]
        carried = [version for version in published if version.manifest["kind"] == "rl"]
        for version in published:
            if version not in carried[: self._config.keep_moments]:
                work = policies.work(name, version.manifest["config_hash"])
                shutil.rmtree(work / CHECKPOINTS, ignore_errors=True)

    @property
    def _checkpoints(self) -> Path:
        return self._lineage.work / CHECKPOINTS
