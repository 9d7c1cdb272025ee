"""What a run made, but for the clock, to be held against what an undisturbed one made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.datasets import Store
from storage.policies import Policies
from storage.records import Trajectory
from storage.sql import query
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig


def rows(store: Path, dataset: str) -> list[tuple[object, ...]]:
    return [_comparable(row) for row in Store(store).version(dataset).read()]


def _comparable(row: Trajectory) -> tuple[object, ...]:
    steps = [(s.thought, s.action, s.observation, s.outcome, s.draft) for s in row.steps]
    return (row.key, row.ending, row.verdict, row.tokens, row.filters, steps, row.final_answer)


def undisturbed(settings: Mapping[str, Any], folder: Path) -> list[tuple[object, ...]]:
    """The rows that the same generation makes without a service, in a store of its own."""
    config = GenerateConfig.model_validate(settings)
    asyncio.run(generate(config, Store(folder)))
    return rows(folder, config.dataset)


def weights(store: Path, policy: str) -> list[str]:
    """Digests of a policy's weights, version by version."""
    return [
        version.manifest["files"]["model.safetensors"]
        for version in Policies(store).versions(policy)
    ]


def committed(store: Path, dataset: str) -> int:
    """Rows of a run that has published nothing yet."""
    sql = f"SELECT count(*) AS n FROM running WHERE dataset = '{dataset}'"
    [row] = query(Store(store), sql).to_pylist()
    return int(row["n"])
