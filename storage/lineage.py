"""Lineage of dataset versions and policies across the whole store, in both directions.

It is read from the manifests, which name their sources; nothing is stored twice. A dataset version
comes from the policy that was sampled, or from the version it was curated from; a policy version
comes from its parent and from the dataset version it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from storage.policies import PolicyVersion
from storage.versions import DatasetVersion


class Edge(NamedTuple):
    """One version that was made from another."""

    product: str
    how: str
    source: str


def edges(datasets: Sequence[DatasetVersion], trained: Sequence[PolicyVersion]) -> list[Edge]:
    """Every edge in the manifests of these versions, those of dataset versions first."""
    names = {str(version.path): str(version) for version in trained}
    found = [edge for version in datasets for edge in _of_dataset(version, names)]
    return found + [edge for version in trained for edge in _of_policy(version)]


def ancestors(known: Sequence[Edge], name: str) -> list[Edge]:
    """All edges that led to a version, the nearest first."""
    return _reached(known, name, lambda edge: edge.product, lambda edge: edge.source)


def descendants(known: Sequence[Edge], name: str) -> list[Edge]:
    """All edges that start from a version, the nearest first."""
    return _reached(known, name, lambda edge: edge.source, lambda edge: edge.product)


def _of_dataset(version: DatasetVersion, policies: dict[str, str]) -> Iterator[Edge]:
    manifest, name = version.manifest, str(version)
    if source := manifest.get("made_from"):
        yield Edge(name, "curated from", source)
        return
    config = manifest["config"]
    if policy := config.get("policy_version"):
        yield Edge(name, "sampled from", policy)
    for role in ("actor", "critic"):
        model = _model(config.get(role, {}), policies)
        if model:
            yield Edge(name, f"made with {role}", model)


def _model(engine: dict[str, Any], policies: dict[str, str]) -> str | None:
    """The version name of a published policy, or the name of another model."""
    model = engine.get("model")
    return policies.get(str(Path(model).absolute()), model) if model else None


def _of_policy(version: PolicyVersion) -> Iterator[Edge]:
    manifest, name = version.manifest, str(version)
    yield Edge(name, f"{manifest['kind']}, parent", manifest["parent"])
    yield Edge(name, f"{manifest['kind']}, trained on", manifest["dataset"])


def _reached(
    known: Sequence[Edge],
    name: str,
    near: Callable[[Edge], str],
    far: Callable[[Edge], str],
) -> list[Edge]:
    found: list[Edge] = []
    seen, queue = {name}, [name]
    while queue:
        here = queue.pop(0)
        steps = [edge for edge in known if near(edge) == here]
        found += steps
        further = {far(edge): None for edge in steps if far(edge) not in seen}
        seen.update(further)
        queue += further
    return found
