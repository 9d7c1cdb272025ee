"""A Hugging Face dataset folder: Parquet files, a train and a validation split, and a card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from storage.exports.common import Rows, Texts
from storage.exports.write import FileColumns, write_rows
from storage.records import Trajectory
from storage.versions import DatasetVersion

TRAIN, VALIDATION = "train", "validation"
SHARD_ROWS = 50_000


def split_of(problem_id: str, validation: float) -> str:
    """The split of a problem: the same in every export."""
    return VALIDATION if crc32(problem_id.encode()) / 2**32 < validation else TRAIN


def in_split(rows: Iterable[Trajectory], split: str, validation: float) -> Iterator[Trajectory]:
    """The trajectories of a split; no problem is in both splits."""
    return (row for row in rows if split_of(row.problem.problem_id, validation) == split)


def write_folder(
    folder: Path,
    read: Callable[[], Iterable[Trajectory]],
    rows: Rows,
    texts: Texts,
    shape: FileColumns,
    validation: float,
    shard_rows: int = SHARD_ROWS,
) -> dict[str, dict[Path, int]]:
    """Write ``data/SPLIT-00000.parquet``, ...; returns each split's files and their row counts.

    `read` is called once for each split, so that rows are streamed.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    splits = [TRAIN, *([VALIDATION] if validation else [])]
    return {
        split: write_rows(
            rows(in_split(read(), split, validation), texts),
            data / f"{split}.parquet",
            shape,
            shard_rows,
        )
        for split in splits
    }


def card(
    version: DatasetVersion, format: str, splits: dict[str, dict[Path, int]], license: str | None
) -> str:
    """The dataset card: number of rows, how they were made, what was dropped and why."""
    manifest = version.manifest
    head = {
        "license": license or "unknown",
        "task_categories": ["text-generation"],
        "tags": ["math", "tool-integrated-reasoning", "tirgen"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": f"data/{split}-*.parquet"} for split in splits
                ],
            }
        ],
    }
    said = license or (
        "no licence was named when this was exported; those of the problems and of the models apply"
    )
    counts = [(split, sum(written.values())) for split, written in splits.items()]
    return "\n\n".join(
        [
            f"---\n{json.dumps(head, indent=2)}\n---",  # JSON is YAML
            f"# {version}",
            "Tool-integrated reasoning over mathematics problems, generated, executed, verified "
            f"and filtered by tirgen {', '.join(manifest['code_versions'])}; "
            f"format `{format}`, published {manifest['created_at']}.",
            "## Rows",
            _table(("split", "rows"), counts),
            "Splits are by problem: no problem is in both.",
            "## How it was made",
            _table(("setting", "value"), _made(manifest.get("config", {}))),
            "## What was dropped, and why",
            _yield(manifest),
            "Each filter rule sees what the rules above it kept.",
            "## Licence",
            f"{said}\n",
        ]
    )


def _made(config: dict[str, Any]) -> list[tuple[str, object]]:
    names = (
        ("actor", "model"), ("critic", "model"), ("policy", "model"), ("problems", "path"),
        ("actor_sampling", "temperature"), ("mode", None), ("attempts", None), ("seed", None),
    )  # fmt: skip
    found = []
    for name, inner in names:
        value = config.get(name)
        if inner is not None and isinstance(value, dict):
            value = value.get(inner)
        if value is not None:
            found.append((f"{name}.{inner}" if inner else name, value))
    return found


def _yield(manifest: dict[str, Any]) -> str:
    funnel = manifest.get("summary", {}).get("yield") or []
    if not funnel:
        return f"{manifest['rows']} rows, {manifest['kept_rows']} kept."
    names = list(funnel[0])
    return _table(names, [[row[name] for name in names] for row in funnel])


def _table(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines: list[list[object]] = [list(names), *(list(row) for row in rows)]
    cells = [[_cell(value) for value in line] for line in lines]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
