"""Files of exported rows: kinds by their ending, shards, columns, and nothing half-written."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from storage.datasets import Store
from storage.errors import ExportRefused
from storage.exports.common import Row, Texts, schema
from storage.exports.folder import card, in_split, split_of, write_folder
from storage.exports.formats import SPECS, ExportFormat
from storage.exports.write import FileColumns, write_rows
from storage.records import Trajectory

Make = Callable[..., Trajectory]
FLAT = FileColumns(schema(("a", pa.int64()), ("b", pa.int64())))
ROWS: list[Row] = [{"a": n, "b": 2 * n} for n in range(5)]


def test_each_kind_of_file_holds_the_same_rows(tmp_path: Path) -> None:
    for ending in (".jsonl", ".jsonl.gz", ".parquet", ".csv"):
        path = tmp_path / f"out{ending}"
        assert write_rows(ROWS, path, FLAT) == {path: 5}
        found = duckdb.sql(f"SELECT sum(a), sum(b) FROM '{path}'")
        assert found
        assert found.fetchall() == [(10, 20)]


def test_an_ending_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=r"\.jsonl, .*\.parquet, \.csv"):
        write_rows(ROWS, tmp_path / "out.txt", FLAT)
    assert list(tmp_path.iterdir()) == []


def test_csv_holds_no_lists(tmp_path: Path) -> None:
    shape = FileColumns(SPECS[ExportFormat.TOOLS].schema)
    with pytest.raises(ExportRefused, match=r"lists in messages.*--columns"):
        write_rows([], tmp_path / "out.csv", shape)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("shard", "sizes"), [(2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_shards_are_numbered_files(tmp_path: Path, shard: int, sizes: list[int]) -> None:
    written = write_rows(ROWS, tmp_path / "out.parquet", FLAT, shard)
    assert list(written.values()) == sizes
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"out-{number:05d}.parquet" for number in range(len(sizes))
    ]


def test_no_rows_are_an_empty_file(tmp_path: Path) -> None:
    assert write_rows([], tmp_path / "out.jsonl", FLAT) == {tmp_path / "out.jsonl": 0}


def test_columns_can_be_chosen_and_must_exist(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path / "out.jsonl", FileColumns(FLAT.schema, ("b",)))
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1]) == {"b": 2}
    with pytest.raises(ExportRefused, match="no column c; it has: a, b"):
        FileColumns(FLAT.schema, ("c",))


def test_a_failure_leaves_no_file_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[Row]:
        yield from ROWS
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_rows(broken(), tmp_path / "out.jsonl", FLAT, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_file_holds_text_that_any_tool_reads(tmp_path: Path) -> None:
    write_rows([{"a": "é|\u202e"}], tmp_path / "out.jsonl.gz", FileColumns(None))
    with gzip.open(tmp_path / "out.jsonl.gz", "rt", encoding="utf-8") as stream:
        assert json.loads(stream.read()) == {"a": "é|\u202e"}


def test_a_problem_is_in_one_split_in_every_export(make_trajectory: Make) -> None:
    rows = [make_trajectory(f"p{n}", attempt) for n in range(200) for attempt in (0, 1)]
    parts = {split: list(in_split(rows, split, 0.2)) for split in ("train", "validation")}
    problems = {split: {row.problem.problem_id for row in part} for split, part in parts.items()}
    assert problems["train"].isdisjoint(problems["validation"])
    assert 20 < len(problems["validation"]) < 60
    assert all(split_of(problem, 0.2) == "train" for problem in problems["train"])


def test_a_folder_has_its_splits_and_an_honest_card(tmp_path: Path, make_trajectory: Make) -> None:
    rows = [make_trajectory(f"p{n}") for n in range(40)]
    summary = {"yield": [{"filter": "correct | boxed", "entered": 40, "dropped": 0, "kept": 40}]}
    config = {"actor": {"kind": "chat", "model": "m"}, "seed": 3}
    version = Store(tmp_path).open_run("demo", config, "c0ffee").publish(rows, summary)
    spec = SPECS[ExportFormat.MESSAGES]
    texts = Texts(
        lambda p: p.question, lambda p: p.question, lambda steps: "".join(map(str, steps))
    )
    folder = tmp_path / "out"
    written = write_folder(folder, version.read, spec.rows, texts, FileColumns(spec.schema), 0.25)
    text = card(version, "messages", written, None)
    assert sum(count for files in written.values() for count in files.values()) == 40
    for said in ('"license": "unknown"', "| train |", "actor.model | m", "correct \\| boxed"):
        assert said in text
