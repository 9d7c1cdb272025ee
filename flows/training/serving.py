"""Puts a policy before whoever samples it: the embedded engine, or a running server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from flows.training.names import Model
from tirgen.engine.publication import publish
from tirgen.jobs.rollout_config import PolicySettings
from tirgen.tir.prompts import as_prompts

P = TypeVar("P", bound=PolicySettings)


async def serving(settings: P, model: Model, asked: Mapping[str, Any] | None = None) -> P:
    """The settings of rollouts or of an evaluation, for this very policy.

    The embedded engine is started from its folder; a running server is told to load it, whatever
    it says it serves. Unless the settings say otherwise it is asked as in its training, by the same
    prompt set and template variables: those in its manifest, or `asked` for a snapshot, which has
    none. Raises `EngineMisconfigured` for one that takes no policy and
    `PublicationFailed`.
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
