"""Supervised fine-tuning data from a dataset version: its kept rows as JSON Lines or Parquet.

What is exported is text, for trainers that do their own templating and masking; training on the
very tokens that were sampled reads the version's token streams instead. How a question becomes a
prompt and steps become a response belongs to the TIR format, so both are given from outside.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from storage import files
from storage.errors import ExportError
from storage.records import Problem, Step
from storage.versions import DatasetVersion

Write: TypeAlias = Callable[[dict[str, Any]], None]
"""Takes one row of the export."""
ROWS_AT_ONCE = 1024


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
    """Write one row per kept trajectory to `path`, atomically; returns how many there are.

    The ending of `path` says the file's format. Raises `ExportError` where it says none of those
    that can be written.
    """
    rows = 0
    with _format_of(path)(path) as write:
        for trajectory in version.read():
            if trajectory.kept:
                sample = shape.row(prompt(trajectory.problem), response(trajectory.steps))
                sample["trajectory_id"] = trajectory.trajectory_id
                write(sample)
                rows += 1
    return rows


def _format_of(path: Path) -> Callable[[Path], AbstractContextManager[Write]]:
    """JSON Lines where the name says nothing else, as for a pipe or /dev/stdout."""
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ExportError(
            f"{path} would be no {path.suffix} file: rows are exported as JSON Lines or Parquet",
            "end the name in .jsonl or .parquet",
        )
    return writer


@contextmanager
def _json_lines(path: Path) -> Iterator[Write]:
    with files.writing(path) as file:
        yield lambda sample: print(json.dumps(sample, ensure_ascii=False), file=file)


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    """Row groups of `ROWS_AT_ONCE`; every sample has the columns of the first one."""
    waiting: list[dict[str, Any]] = []
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    with files.removed_on_failure(files.temporary_beside(path)) as temporary:
        with ExitStack() as stack:
            writers: list[pq.ParquetWriter] = []

            def flush() -> None:
                table = pa.Table.from_pylist(waiting)
                if not writers:
                    writers.append(stack.enter_context(pq.ParquetWriter(temporary, table.schema)))
                writers[0].write_table(table)
                waiting.clear()

            def write(sample: dict[str, Any]) -> None:
                waiting.append(sample)
                if len(waiting) == ROWS_AT_ONCE:
                    flush()

            yield write
            if waiting or not writers:
                flush()
        files.replace(temporary, path)


WRITERS: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {
    "": _json_lines,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
