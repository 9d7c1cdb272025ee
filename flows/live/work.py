"""The runs and trainings of a store, found by name or by when they were last worked on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from storage import documents, names
from storage.calls import CALLS, Call, calls
from storage.commits import LOG
from storage.datasets import Store
from storage.errors import NotFound
from storage.leases import LEASES, Holder, holders
from storage.policies import Policies, PolicyVersion
from storage.runs import CONFIG, run_id
from storage.versions import DatasetVersion
from trainer.history import HISTORY

Kind = Literal["generation", "rollouts", "evaluation", "import", "training"]
_HINT = "tirgen watch lists the runs and trainings of the store"


@dataclass(frozen=True)
class Work:
    """A run of a dataset, or a training of a policy."""

    folder: Path
    made: str
    """The dataset or policy that it makes."""
    is_training: bool

    @property
    def name(self) -> str:
        """E.g. ``demo-1f0c3a9d5e7b``; for a run the `run_id` in its rows."""
        return run_id(self.made, self.config_hash)

    @property
    def config_hash(self) -> str:
        return self.folder.name

    @property
    def changed(self) -> float:
        """When a process last wrote something of it, in seconds since the epoch."""
        files = [self.folder / name for name in (LOG, CONFIG, HISTORY)]
        files += [path for part in (CALLS, LEASES) for path in (self.folder / part).glob("*.json")]
        return max((_changed(path) for path in files), default=0.0)

    @cached_property
    def config(self) -> dict[str, Any]:
        """A run's configuration; empty for a training, whose policy has it."""
        path = self.folder / CONFIG
        return documents.read(path) if path.exists() else {}

    @property
    def kind(self) -> Kind:
        if self.is_training:
            return "training"
        if "benchmarks" in self.config:
            return "evaluation"
        if "actor" in self.config:
            return "generation"
        return "rollouts" if "policy" in self.config else "import"

    def calls(self) -> list[Call]:
        """The calls that worked on it, oldest first."""
        return calls(self.folder)

    def holders(self) -> list[Holder]:
        """The processes at work, but for those of which this machine knows that they ended."""
        return [held for held in holders(self.folder / LEASES).values() if not held.is_dead]

    def published(self, store: Store) -> DatasetVersion | PolicyVersion | None:
        """The newest version that it has published."""
        if self.is_training:
            return Policies(store.root).made_by(self.made, self.config_hash)
        found = reversed(store.versions(self.made))
        return next((v for v in found if v.manifest["config_hash"] == self.config_hash), None)


def every_work(store: Store) -> list[Work]:
    """All runs and trainings, most recently active first."""
    found = [*_below(store, "datasets", "runs"), *_below(store, "policies", "work")]
    return sorted(found, key=lambda work: work.changed, reverse=True)


def latest_work(store: Store) -> Work:
    """What was worked on last. Raises NotFound."""
    found = every_work(store)
    if not found:
        raise NotFound(f"nothing was run in {store}", "begin with: tirgen demo")
    return found[0]


def find_work(store: Store, name: str) -> Work:
    """A run or training by its name or the beginning of it, or the last one of a dataset or policy.

    Raises NotFound where there is none, or where the beginning fits several.
    """
    every = every_work(store)
    if newest := next((work for work in every if work.made == name), None):
        return newest
    found = [work for work in every if work.name.startswith(name)]
    if len(found) > 1:
        listed = ", ".join(work.name for work in found[:5])
        raise NotFound(f"several runs begin with {name!r}: {listed}", "give more of the name")
    if not found:
        raise NotFound(f"no dataset, policy or run {name!r} in {store}", _HINT)
    return found[0]


def _below(store: Store, things: str, place: str) -> Iterator[Work]:
    for thing in names.folders(store.root / things):
        for folder in names.folders(thing / place):
            yield Work(folder, thing.name, is_training=things == "policies")


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
