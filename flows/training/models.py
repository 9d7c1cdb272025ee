"""The policies that users name: where one is, how it is asked, what suits it, and how it is served.

Imports no torch, so that a command that only samples a policy needs none.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from storage.datasets import Store
from storage.errors import NotFound
from storage.policies import Policies, PolicyVersion
from tirgen.embedded.models import MODEL_DIR, is_pocket
from tirgen.engine.publication import publish
from tirgen.jobs.rollout_config import PolicySettings
from tirgen.tir.prompts import as_prompts

if TYPE_CHECKING:
    from trainer.settings import Names

RECIPE = Path(__file__).with_name("pocket.toml")

P = TypeVar("P", bound=PolicySettings)


class Model(NamedTuple):
    """A policy that can be sampled and trained."""

    folder: Path
    label: str | None
    """The version's name in rows and manifests; None for a folder that is not published."""

    @property
    def reference(self) -> str:
        """The name of this parent in a training job."""
        return self.label or str(self.folder)

    @property
    def asked(self) -> dict[str, Any]:
        """How the policy was asked in its training: ``prompts`` and ``template_variables``; empty
        for a folder that is not published."""
        if not self.label:
            return {}
        found: dict[str, Any] | None = PolicyVersion(self.folder).manifest.get("asked")
        return found or {}


def published(version: PolicyVersion) -> Model:
    return Model(version.fetched(), str(version))


def find_model(store: Store, name: str) -> Model:
    """The model for NAME@v3, the latest version of NAME, or a model's folder; the packaged model
    for an empty name.

    `NAME` is resolved to a version now, so that a retry uses the same one. Raises NotFound.
    """
    if not name:
        return Model(MODEL_DIR, None)
    if (Path(name) / "config.json").is_file():
        return Model(Path(name).absolute(), None)
    if "/" in name:
        raise NotFound(f"there is no model in the folder {name}", "it has no config.json")
    return published(Policies(store.root).version(name))


def training_names(
    store: Store, policy: str, parent: Model, dataset: str, sampler: Model | None = None
) -> Names:
    """What a training job reads and publishes; `dataset` is resolved to a version now.

    `sampler` is the policy that sampled the dataset; by default the parent. Raises NotFound.
    """
    from trainer.settings import Names  # needs torch

    version = store.version(dataset)
    return Names(
        store=store.root,
        policy=policy,
        parent=parent.reference,
        dataset=str(version),
        sampler=None if sampler in (None, parent) else sampler.reference,
    )


def recipe() -> dict[str, Any]:
    """The whole recipe of the embedded model, for `flows.training.improve.ImproveConfig`."""
    return tomllib.loads(RECIPE.read_text("utf-8"))


def settings_for(folder: Path, section: str) -> dict[str, Any]:
    """A section of the recipe for a model that descends from the packaged one.

    Empty for every other model: the defaults are the paper's.
    """
    settings: dict[str, Any] = recipe()[section] if is_pocket(folder) else {}
    return settings


async def serving(settings: P, model: Model, asked: Mapping[str, Any] | None = None) -> P:
    """The settings of rollouts or of an evaluation, changed to sample this policy.

    The embedded engine starts from the policy's folder. A running server is asked to load it,
    whatever it says it serves. The policy is asked as in its training, with the same prompt set and
    template variables, unless the settings say otherwise: those in its manifest, or `asked` for a
    snapshot, which has no manifest. Raises `EngineMisconfigured` for a server
    that cannot load a policy, and `PublicationFailed`.
    """
    settings = _asked_as_trained(settings, model.asked if asked is None else asked)
    update: dict[str, Any] = {"policy_version": model.label}
    if settings.policy.kind == "embedded":
        update["policy"] = settings.policy.model_copy(update={"model": str(model.folder)})
    else:
        await publish(settings.policy, model.folder, model.reference)
    return settings.model_copy(update=update)


def _asked_as_trained(settings: P, asked: Mapping[str, Any]) -> P:
    update: dict[str, Any] = {}
    if settings.prompts is None and "prompts" in asked:
        update["prompts"] = as_prompts(asked["prompts"])
    if asked.get("template_variables") and not settings.policy.template_variables:
        variables = {"template_variables": asked["template_variables"]}
        update["policy"] = settings.policy.model_copy(update=variables)
    return settings.model_copy(update=update)
