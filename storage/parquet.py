"""Trajectories in Parquet files: the layout of live batches and of published versions.

The layouts follow measurements over 40,000 rows (nested aggregate, flat aggregate, look-up by id):
sorted, zstd, row groups of a few thousand, dictionaries only where values repeat, Bloom filters on
the two ids people look up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.records import Trajectory
from storage.schema import (
    check_version,
    from_batch,
    to_batch,
    trajectory_schema,
    with_later_columns,
)

ROW_GROUP = 5_000
"""Rows per row group of a published file."""
READ_ROWS = 500
"""Rows turned into records at once: bounds the memory of a reader, whatever the file's size."""

_REPEATING: Any = [
    "dataset", "program", "source", "difficulty", "ending", "method", "run_id", "config_hash",
    "actor_model", "critic_model", "engine", "sampling", "actor_prompt_hash", "critic_prompt_hash",
    "code_version", "sandbox", "policy_version", "level", "judge_model",
    "steps.list.element.outcome", "filters.list.element.rule", "filters.list.element.reason",
]  # fmt: skip
"""Columns with few distinct values; `Any`, because pyarrow's stubs only know a flag here."""
_LOOKED_UP = ["trajectory_id", "problem_id"]


def write_batch(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """A live batch: written fast, read a few times, soon compacted."""
    table = pa.Table.from_batches([to_batch(trajectories)])
    pq.write_table(table, path, compression="zstd", compression_level=1, use_dictionary=_REPEATING)


def write_published(path: Path, table: pa.Table) -> None:
    """A file of a dataset version: written once, laid out for queries."""
    bloom = {
        column: {"ndv": max(1, min(len(table), ROW_GROUP)), "fpp": 0.01} for column in _LOOKED_UP
    }
    pq.write_table(
        table,
        path,
        row_group_size=ROW_GROUP,
        compression="zstd",
        compression_level=3,
        use_dictionary=_REPEATING,
        write_page_index=True,
        bloom_filter_options=bloom,
    )


def write_empty(path: Path) -> None:
    """A file with every column and no row, for readers that need at least one file."""
    pq.write_table(trajectory_schema().empty_table(), path)


def read_trajectories(path: Path) -> Iterator[Trajectory]:
    """The rows of a file as records, a few hundred in memory at a time.

    Raises:
        SchemaTooNew: the file was written by a newer tirgen.
    """
    with pq.ParquetFile(path) as file:
        check_version(file.schema_arrow, str(path))
        for batch in file.iter_batches(READ_ROWS):
            yield from from_batch(with_later_columns(batch))


def read_columns(path: Path, columns: list[str]) -> pa.Table:
    """Some columns of a file, without touching the others.

    ``steps.list.element.outcome`` names one field of a nested column.

    Raises:
        SchemaTooNew: the file was written by a newer tirgen.
    """
    with pq.ParquetFile(path) as file:
        check_version(file.schema_arrow, str(path))
        names, found = {name: name.partition(".")[0] for name in columns}, file.schema_arrow.names
        there = [name for name in columns if names[name] in found]
        return with_later_columns(file.read(there)).select(list(dict.fromkeys(names.values())))
