"""Figures of rounds of RL and of fine-tunings, computed from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.terminal.plots import Lines, Marks, Plot, lines_plot
from storage.datasets import Store
from storage.literals import literal
from storage.policies import Policies, PolicyVersion
from storage.records import Level
from storage.sql import query
from storage.versions import DatasetVersion
from tirgen.evaluation.estimates import Estimate
from trainer.history import HISTORY, read_history

if TYPE_CHECKING:  # both need torch, and a report is read where there is none
    from flows.training.fine_tune import FineTuned
    from flows.training.improve import Stage

ROLLOUTS = """
SELECT avg(correct::INT) FILTER (WHERE level = 'trajectory') AS reward,
    sum(n_calls - n_failed_calls) FILTER (WHERE level = 'trajectory')
        / nullif(sum(n_calls) FILTER (WHERE level = 'trajectory'), 0) AS execution_pass,
    avg((n_calls > 0)::INT) FILTER (WHERE level = 'trajectory') AS code_ratio,
    avg(n_policy_tokens) FILTER (WHERE level = 'trajectory') AS tokens,
    count(*) FILTER (WHERE level = 'trajectory') AS rollouts,
    count(*) FILTER (WHERE level = 'step') AS branches,
    avg((n_failed_calls = 0 AND n_calls > 0)::INT) FILTER (WHERE level = 'step') AS mended
FROM all_trajectories
WHERE dataset = {dataset} AND version = {version} AND (correct IS NOT NULL OR level = 'step')"""
"""One round's rollouts and branches in one row, without rows lost to infrastructure."""


def rollout_figures(store: Store, version: DatasetVersion) -> dict[str, Any]:
    """Reward, execution pass rate, code ratio and length of one round's rollouts."""
    [row] = query(store, rollouts_sql(version.dataset, version.version)).to_pylist()
    return dict(row)


def rollouts_sql(dataset: str, version: str) -> str:
    """The statement behind `rollout_figures`."""
    return ROLLOUTS.format(dataset=literal(dataset), version=literal(version))


def round_figures(store: Store, policy: PolicyVersion) -> dict[str, Any]:
    """One row: the rollouts and the update of the round that made a policy version."""
    manifest = policy.manifest
    sampled = rollout_figures(store, store.version(manifest["dataset"]))
    return {
        "policy": str(policy),
        "rollouts_in": manifest["dataset"],
        **sampled,
        **_update_figures(store, policy),
        "sampler_gap": manifest["metrics"]["sampler_gap"],
    }


def _update_figures(store: Store, policy: PolicyVersion) -> dict[str, Any]:
    """Means over the update's steps, for the trajectory level."""
    work = Policies(store.root).work(policy.policy, policy.manifest["config_hash"])
    steps = [step["levels"].get(Level.TRAJECTORY, {}) for step in read_history(work / HISTORY)]
    names = ("entropy", "kl", "clip_low_fraction", "clip_high_fraction")
    found = {name: [step[name] for step in steps if name in step] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def all_rounds(store: Store, policy: PolicyVersion) -> list[dict[str, Any]]:
    """The figures of every round that led to a policy version, oldest first."""
    policies, chain = Policies(store.root), []
    while policy.manifest["kind"] == "rl":
        chain.append(round_figures(store, policy))
        if "@" not in (parent := policy.manifest["parent"]):
            break  # a model's folder
        policy = policies.version(parent)
    return chain[::-1]


def curves(panels: Sequence[Lines]) -> list[Lines]:
    """What can be drawn: lines of at least two points, and panels that have one."""
    drawn = []
    for panel in panels:
        lines = {name: points for name, points in panel.lines.items() if len(points) > 1}
        if lines:
            drawn.append(Lines(title=panel.title, lines=lines))
    return drawn


def rounds_plot(store: Store, policy: PolicyVersion) -> Plot | None:
    """The curves of the rounds that led to a policy; of a single round those of its update.

    None where neither has two points.
    """
    rounds = all_rounds(store, policy)
    if panels := curves(rounds_panels(rounds)):
        return lines_plot("round", panels)
    work = Policies(store.root).work(policy.policy, policy.manifest["config_hash"])
    panels = steps_panels(read_history(work / HISTORY)) if rounds else []
    return lines_plot("optimiser step", panels) if panels else None


_STEP_FIGURES = {
    "loss": "loss",
    "gradient_norm": "norm of the gradient",
    "entropy": "entropy (nats)",
    "kl": "KL estimate of the update",
    "clip_low_fraction": "share of tokens clipped below",
    "clip_high_fraction": "share of tokens clipped above",
}
"""Of the history of a training, with their titles; those of RL are by level."""


def steps_panels(steps: Sequence[Mapping[str, Any]]) -> list[Lines]:
    """The curves over a training's steps, those of RL with a line for each level."""

    def lines(name: str) -> dict[str, list[tuple[float, float]]]:
        found = {"": [(s["step"], s[name]) for s in steps if s.get(name) is not None]}
        for level in Level:
            rows = [(s["step"], (s.get("levels") or {}).get(level, {}).get(name)) for s in steps]
            found[level.value] = [(step, value) for step, value in rows if value is not None]
        return found

    return curves([Lines(title=title, lines=lines(name)) for name, title in _STEP_FIGURES.items()])


def curve_panels(store: Store, made: FineTuned) -> list[Lines]:
    """The loss of a fine-tuning, and the curves of its held-out problems if there are any."""
    work = Policies(store.root).work(made.policy.policy, made.policy.manifest["config_hash"])
    loss = [(step["step"], step["loss"]) for step in read_history(work / HISTORY)]
    panels = [Lines(title="loss (nats a token)", lines={"": loss})]
    if made.curve:
        points = [(point.step, point.results[0]) for point in made.curve]
        ks = points[0][1].pass_at
        passing = {f"pass@{k}": [(n, r.pass_at[k].value) for n, r in points] for k in ks}
        panels.append(Lines(title=f"held-out {points[0][1].benchmark}", lines=passing))
        code = [(n, r.code_ratio.value) for n, r in points if r.code_ratio]
        panels.append(Lines(title="samples that use code", lines={"": code}))
    return panels


def rounds_panels(rounds: Sequence[Mapping[str, Any]]) -> list[Lines]:
    """Reward, pass rate, length, entropy, KL estimate and clip fraction per round."""

    def panel(title: str, *names: str) -> Lines:
        numbered = list(enumerate(rounds, start=1))
        lines = {
            name if len(names) > 1 else "": [
                (n, row[name]) for n, row in numbered if row.get(name) is not None
            ]
            for name in names
        }
        return Lines(title=title, lines={name: points for name, points in lines.items() if points})

    return [
        panel("reward", "reward"),
        panel("programs that ran", "execution_pass", "mended"),
        panel("tokens a rollout", "tokens"),
        panel("entropy (nats)", "entropy"),
        panel("KL estimate of the update", "kl"),
        panel("clipped tokens", "clip_low_fraction", "clip_high_fraction"),
    ]


def stage_panels(stages: Sequence[Stage]) -> list[Marks]:
    """Accuracy, programs that ran, and cost of every stage, on the first benchmark."""

    def panel(title: str, name: str) -> Marks:
        values: dict[str, Estimate | None] = {
            stage.name: getattr(stage.results[0], name) for stage in stages
        }
        return Marks(title=title, values=values)

    return [
        panel(f"accuracy on {stages[0].results[0].benchmark}", "accuracy"),
        panel("programs that ran", "execution_pass"),
        panel("tokens a sample", "tokens_per_sample"),
    ]
