"""What users name, as what it stands for now: a parent policy, a dataset version, a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from storage.datasets import Store
from storage.errors import NotFound
from storage.policies import Policies, PolicyVersion
from storage.records import Program
from storage.versions import DatasetVersion
from tirgen.config import GenerateConfig
from tirgen.engine.renderer import HfRenderer
from tirgen.pocket.names import MODEL_DIR
from tirgen.tir.prompts import PROMPT_SETS

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


def tool_prompts(version: DatasetVersion, parent: Path) -> dict[str, list[int]] | None:
    """The prompt that asks for programs, by question, for what actor and critic made: the actor's
    own asked for none (spec §4). None for rows whose policy was asked as it will be."""
    kept = (row for row in version.read() if row.kept and row.program is Program.TIRGEN)
    questions = sorted({row.problem.question for row in kept})
    if not questions:
        return None
    made = GenerateConfig.model_validate(version.manifest["config"])
    prompts, renderer = PROMPT_SETS[made.prompt_set_name], HfRenderer.load(parent)
    return {
        question: list(renderer.prompt_ids(prompts.for_tir(question))) for question in questions
    }
