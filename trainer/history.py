"""The history of a training run: one JSON object per step in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage import documents, files

HISTORY = "history.jsonl"
"""Its file in the folder of a training run."""


class History:
    """The records of the first `steps` steps; later ones are removed, because they are repeated."""

    def __init__(self, path: Path, steps: int) -> None:
        self._path = path
        files.update(path.parent)
        kept = read_history(path)[:steps] if path.exists() else []
        files.write_atomic(path, b"".join(documents.dump(record) + b"\n" for record in kept))

    def append(self, record: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(documents.dump(record) + b"\n")
        files.changed(self._path)


def history_of(work: Path) -> list[dict[str, Any]]:
    """Every complete record of the training run in this folder; none before its first step."""
    files.update(work)
    path = work / HISTORY
    return read_history(path) if path.exists() else []


def read_history(path: Path) -> list[dict[str, Any]]:
    """Every complete record of the file, oldest first. Raises Damaged where one was changed."""
    return [record for _, record in documents.lines(path)]
