"""The views whose rows are manifests: what is published, made from what, evaluated how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.lineage import edges
from storage.literals import literal
from storage.places import shown
from storage.policies import Policies, PolicyVersion
from storage.tags import readable_tags
from storage.versions import DatasetVersion

Columns = Mapping[str, str]
"""Name to SQL type."""

_DATASETS = {
    "dataset": "VARCHAR", "version": "VARCHAR", "latest": "BOOLEAN", "rows": "BIGINT",
    "kept_rows": "BIGINT", "baselines": "BIGINT", "created_at": "TIMESTAMP", "run_id": "VARCHAR",
    "config_hash": "VARCHAR", "made_from": "VARCHAR", "path": "VARCHAR",
}  # fmt: skip
_POLICIES = {
    "policy": "VARCHAR", "version": "VARCHAR", "latest": "BOOLEAN", "kind": "VARCHAR",
    "parent": "VARCHAR", "trained_on": "VARCHAR", "created_at": "TIMESTAMP",
    "config_hash": "VARCHAR", "path": "VARCHAR",
}  # fmt: skip
_EVALUATIONS = {
    "dataset": "VARCHAR", "version": "VARCHAR", "policy": "VARCHAR", "benchmark": "VARCHAR",
    "problems": "BIGINT", "samples": "BIGINT", "figure": "VARCHAR", "value": "DOUBLE",
    "low": "DOUBLE", "high": "DOUBLE",
}  # fmt: skip

_TAGS = {"dataset": "VARCHAR", "tag": "VARCHAR", "version": "VARCHAR"}
_ORIGINS = {"product": "VARCHAR", "how": "VARCHAR", "source": "VARCHAR"}
_PRICES = {
    "dataset": "VARCHAR", "version": "VARCHAR", "model": "VARCHAR", "prompt": "DOUBLE",
    "completion": "DOUBLE",
}  # fmt: skip


def manifest_view(
    view: str,
    found: Sequence[DatasetVersion],
    removed: Sequence[DatasetVersion],
    policies: Policies,
) -> str:
    """The body of one of the views of this module, over versions that are whole."""
    match view:
        case "datasets":
            return datasets_view(found)
        case "tags":
            return _rows(_TAGS, (row for dataset in _folders(found) for row in _tags(dataset)))
        case "evaluations":
            return evaluations_view(found)
        case "origins":
            return _rows(_ORIGINS, edges([*removed, *found], policies.all()))
        case "prices":
            return _rows(_PRICES, (row for version in found for row in _prices(version)))
        case _:
            return policies_view(policies.all())


def datasets_view(found: Sequence[DatasetVersion]) -> str:
    """One row per published dataset version."""
    latest = {version.dataset: version for version in found}
    return _rows(_DATASETS, (_dataset(v, latest[v.dataset] == v) for v in found))


def policies_view(found: Sequence[PolicyVersion]) -> str:
    """One row per published policy version, with what it was made from."""
    latest = {version.policy: version for version in found}
    return _rows(_POLICIES, (_policy(v, latest[v.policy] == v) for v in found))


def evaluations_view(found: Sequence[DatasetVersion]) -> str:
    """One row per evaluated policy, benchmark and figure that has an interval."""
    return _rows(_EVALUATIONS, (row for version in found for row in _evaluation(version)))


def _dataset(version: DatasetVersion, latest: bool) -> Iterable[Any]:
    manifest = version.manifest
    return (
        version.dataset,
        version.version,
        latest,
        version.samples,
        manifest["kept_rows"],
        version.baselines,
        manifest["created_at"],
        manifest["run_id"],
        manifest["config_hash"],
        manifest.get("made_from"),
        shown(version.path),
    )


def _policy(version: PolicyVersion, latest: bool) -> Iterable[Any]:
    manifest = version.manifest
    made = (
        manifest.get(name) for name in ("kind", "parent", "dataset", "created_at", "config_hash")
    )
    return (version.policy, version.version, latest, *made, str(version.path))


def _folders(found: Sequence[DatasetVersion]) -> list[Path]:
    return list(dict.fromkeys(version.path.parents[1] for version in found))


def _tags(dataset: Path) -> Iterator[Iterable[Any]]:
    for tag, version in readable_tags(dataset).items():
        yield (dataset.name, tag, version)


def _prices(version: DatasetVersion) -> Iterator[Iterable[Any]]:
    budget = version.manifest["config"].get("budget") or {}
    for model, price in budget.get("prices", {}).items():
        yield (version.dataset, version.version, model, price["prompt"], price["completion"])


def _evaluation(version: DatasetVersion) -> Iterator[Iterable[Any]]:
    policy = version.manifest["config"].get("policy_version")
    for result in version.manifest["summary"].get("results", ()):
        counts = (result["benchmark"], result["problems"], result["samples"])
        for figure, estimate in _estimates(result):
            interval = (estimate["value"], estimate["low"], estimate["high"])
            yield (version.dataset, version.version, policy, *counts, figure, *interval)


def _estimates(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that has an interval, those by k as ``pass_at_8``."""
    for name, value in result.items():
        if isinstance(value, dict) and "low" in value:
            yield f"{prefix}{name}", value
        elif isinstance(value, dict):
            yield from _estimates(value, f"{prefix}{name}_")


def _rows(columns: Columns, rows: Iterable[Iterable[Any]]) -> str:
    """A SELECT of the rows, of the right types also where there is none."""
    nothing = (None,) * len(columns)
    values = ", ".join(f"({', '.join(map(literal, row))})" for row in [nothing, *rows])
    typed = ", ".join(f"{name}::{kind} AS {name}" for name, kind in columns.items())
    first = next(iter(columns))
    return (
        f"SELECT {typed} FROM (VALUES {values}) AS row_({', '.join(columns)}) "
        f"WHERE {first} IS NOT NULL"
    )
