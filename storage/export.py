"""Supervised fine-tuning data from a dataset version: JSON Lines of its kept rows.

What is exported is text, for trainers that do their own templating and masking; training on the
very tokens that were sampled reads the version's token streams instead. How a question becomes a
prompt and steps become a response belongs to the TIR format, so both are given from outside.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from storage import files
from storage.records import Problem, Step
from storage.versions import DatasetVersion


class SftFormat(StrEnum):
    """The two row shapes that trainers read."""

    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt_completion"

    def row(self, prompt: str, response: str) -> dict[str, Any]:
        """One sample in this shape."""
        if self is SftFormat.PROMPT_COMPLETION:
            return {"prompt": prompt, "completion": response}
        user = {"role": "user", "content": prompt}
        return {"messages": [user, {"role": "assistant", "content": response}]}


def export_sft(
    version: DatasetVersion,
    path: Path,
    prompt: Callable[[Problem], str],
    response: Callable[[tuple[Step, ...]], str],
    shape: SftFormat = SftFormat.MESSAGES,
) -> int:
    """Write one line per kept trajectory to `path`, atomically; returns how many there are."""
    rows = 0
    with files.writing(path) as file:
        for trajectory in version.read():
            if trajectory.kept:
                sample = shape.row(prompt(trajectory.problem), response(trajectory.steps))
                sample["trajectory_id"] = trajectory.trajectory_id
                file.write(json.dumps(sample, ensure_ascii=False) + "\n")
                rows += 1
    return rows
