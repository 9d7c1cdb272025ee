"""Puts a policy before whoever samples it: the embedded engine, or a running server."""

from __future__ import annotations

from typing import Any, TypeVar

from flows.training.names import Model
from tirgen.engine.publication import publish
from tirgen.jobs.rollout_config import PolicySettings

P = TypeVar("P", bound=PolicySettings)


async def serving(settings: P, model: Model) -> P:
    """The settings of rollouts or of an evaluation, for this very policy.

    The embedded engine is started from its folder; a running server is told to load it, whatever
    it says it serves. Unless the settings say otherwise it is asked as in its training, by the same
    prompt set and template variables. Raises `EngineMisconfigured` for one that takes no policy and
    `PublicationFailed`.
    """
    settings = _asked_as_trained(settings, model)
    update: dict[str, Any] = {"policy_version": model.label}
    if settings.policy.kind == "embedded":
        update["policy"] = settings.policy.model_copy(update={"model": str(model.folder)})
    else:
        await publish(settings.policy, model.folder, model.reference)
    return settings.model_copy(update=update)


def _asked_as_trained(settings: P, model: Model) -> P:
    asked = model.asked
    update: dict[str, Any] = {}
    if settings.prompts is None and asked.get("prompts", settings.prompt_set.name) != (
        settings.prompt_set.name
    ):
        update["prompts"] = asked["prompts"]
    if asked.get("template_variables") and not settings.policy.template_variables:
        variables = {"template_variables": asked["template_variables"]}
        update["policy"] = settings.policy.model_copy(update=variables)
    return settings.model_copy(update=update)
