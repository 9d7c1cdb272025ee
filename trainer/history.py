"""The history of a training run: one JSON object per step in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from storage import files

HISTORY = "history.jsonl"
"""Its file in the folder of a training run."""


class History:
    """The records of the first `steps` steps; later ones are removed, because they are repeated."""

    def __init__(self, path: Path, steps: int) -> None:
        self._path = path
        files.update(path.parent)
        kept = read_history(path)[:steps] if path.exists() else []
        files.write_atomic(path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def append(self, record: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        files.changed(self._path)


def history_of(work: Path) -> list[dict[str, Any]]:
    """Every complete record of the training run in this folder; none before its first step."""
    files.update(work)
    path = work / HISTORY
    return read_history(path) if path.exists() else []


def read_history(path: Path) -> list[dict[str, Any]]:
    """Every complete record of the file, oldest first."""
    complete = path.read_text("utf-8").split("\n")[:-1]
    return [json.loads(line) for line in complete]
