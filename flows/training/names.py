"""What users name, as what it stands for now: a parent policy, a dataset version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from storage.datasets import Store
from storage.errors import NotFound
from storage.numbered import MANIFEST
from storage.policies import Policies, PolicyVersion
from tirgen.embedded.models import MODEL_DIR

if TYPE_CHECKING:
    from trainer.run import Names


class Model(NamedTuple):
    """A policy that can be sampled and trained."""

    folder: Path
    label: str | None
    """The version's name in rows and manifests; None for a folder that is not published."""

    @property
    def reference(self) -> str:
        """As a training job names its parent."""
        return self.label or str(self.folder)

    @property
    def asked(self) -> dict[str, Any]:
        """How the policy was asked in its training: ``prompts`` and ``template_variables``; empty
        for a folder that is not published."""
        manifest = self.folder / MANIFEST
        found: dict[str, Any] = {}
        if self.label and manifest.is_file():
            found = json.loads(manifest.read_bytes()).get("asked") or {}
        return found


def published(version: PolicyVersion) -> Model:
    return Model(version.path, str(version))


def find_model(store: Store, name: str) -> Model:
    """What a user means by a policy: NAME@v3, the latest of NAME, a model's folder, or, empty,
    the packaged model. The version it stands for now, so that a retry means the same one.

    Raises NotFound.
    """
    if not name:
        return Model(MODEL_DIR, None)
    if (Path(name) / "config.json").is_file():
        return Model(Path(name).absolute(), None)
    if "/" in name:
        raise NotFound(f"no model lies in the folder {name}", "it has no config.json")
    return published(Policies(store.root).version(name))


def training_names(store: Store, policy: str, parent: Model, dataset: str) -> Names:
    """What a job reads and publishes, with the version that `dataset` stands for now.

    Raises NotFound.
    """
    from trainer.run import Names  # torch, which naming a model to sample from does not need

    version = store.version(dataset)
    return Names(store=store.root, policy=policy, parent=parent.reference, dataset=str(version))
