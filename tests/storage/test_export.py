import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.datasets import Store
from storage.errors import ExportError
from storage.export import SftFormat, export_sft
from storage.records import FilterVerdict, Step, Trajectory
from storage.versions import DatasetVersion

Make = Callable[..., Trajectory]


@pytest.fixture
def version(tmp_path: Path, make_trajectory: Make) -> DatasetVersion:
    dropped = make_trajectory("p2", filters=(FilterVerdict(rule="r", kept=False, reason="no"),))
    return Store(tmp_path).open_run("demo", {}, "c0ffee").publish([make_trajectory(), dropped], {})


def joined(steps: tuple[Step, ...]) -> str:
    return "|".join(step.thought for step in steps)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (
            SftFormat.MESSAGES,
            {
                "messages": [
                    {"role": "user", "content": "Q: What is 6 times 7?"},
                    {
                        "role": "assistant",
                        "content": "Let me compute it.|So the answer is \\boxed{42}.",
                    },
                ]
            },
        ),
        (
            SftFormat.PROMPT_COMPLETION,
            {
                "prompt": "Q: What is 6 times 7?",
                "completion": "Let me compute it.|So the answer is \\boxed{42}.",
            },
        ),
    ],
)
def test_kept_rows_are_exported_and_no_others(
    tmp_path: Path,
    version: DatasetVersion,
    make_trajectory: Make,
    shape: SftFormat,
    expected: dict[str, object],
) -> None:
    path = tmp_path / "sft.jsonl"
    assert export_sft(version, path, lambda p: f"Q: {p.question}", joined, shape) == 1
    [row] = map(json.loads, path.read_text().splitlines())
    assert row == {**expected, "trajectory_id": make_trajectory().trajectory_id}


@pytest.mark.parametrize("shape", SftFormat)
def test_a_name_that_says_parquet_gets_parquet(
    tmp_path: Path, version: DatasetVersion, shape: SftFormat
) -> None:
    lines, table = tmp_path / "sft.jsonl", tmp_path / "sft.parquet"
    for path in (lines, table):
        assert export_sft(version, path, lambda p: p.question, joined, shape) == 1
    assert pq.read_table(table).to_pylist() == [json.loads(lines.read_text())]


@pytest.mark.parametrize("name", ["sft.json", "sft.csv", "sft.arrow", "sft.parquet.gz"])
def test_a_name_of_another_format_is_refused_and_nothing_written(
    tmp_path: Path, version: DatasetVersion, name: str
) -> None:
    with pytest.raises(ExportError, match=r"JSON Lines or Parquet.*\.jsonl or \.parquet"):
        export_sft(version, tmp_path / name, lambda p: p.question, joined)
    assert not (tmp_path / name).exists()


def test_a_parquet_export_that_fails_leaves_nothing(
    tmp_path: Path, version: DatasetVersion
) -> None:
    def broken(steps: tuple[Step, ...]) -> str:
        raise RuntimeError("no response")

    (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError, match="no response"):
        export_sft(version, tmp_path / "out" / "x.parquet", lambda p: p.question, broken)
    assert not list((tmp_path / "out").iterdir())
