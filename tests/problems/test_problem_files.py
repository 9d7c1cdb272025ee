"""The same rows come out of every format; what no reader can read is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from writing import Fields, write_arrow, write_csv, write_jsonl, write_parquet

from tirgen.problems.errors import ProblemsError
from tirgen.problems.load import load_problems

ROWS: list[Fields] = [
    {"question": 'A "quoted", two-line\nquestion?', "answer": "1", "level": "Level 1"},
    {"question": "¿Cuánto es $x$?", "answer": r"\frac{1}{2}", "level": "Level 2"},
]


def write_json(path: Path, rows: list[Fields]) -> str:
    path.write_text(json.dumps(rows, indent=1))
    return str(path)


@pytest.mark.parametrize(
    ("writer", "name"),
    [
        (write_jsonl, "s.jsonl"),
        (write_json, "s.json"),
        (write_jsonl, "s.json"),
        (write_csv, "s.csv"),
        (write_parquet, "s.parquet"),
        (write_arrow, "s.arrow"),
    ],
    ids=["jsonl", "json", "jsonl called json", "csv", "parquet", "arrow"],
)
def test_every_format_holds_the_same_problems(
    writer: Callable[[Path, list[Fields]], str], name: str, tmp_path: Path
) -> None:
    problems = load_problems(writer(tmp_path / name, ROWS)).problems
    assert [(p.question, p.answer, p.difficulty) for p in problems] == [
        (row["question"], row["answer"], row["level"]) for row in ROWS
    ]
    assert [p.problem_id for p in problems] == ["s-abe70e6a8d6a", "s-fce5147f5a18"]


def test_json_may_wrap_its_array(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"version": 1, "data": ROWS}))
    assert len(load_problems(str(path)).problems) == 2


def test_json_without_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text("{}")
    with pytest.raises(ProblemsError, match="no single array of rows"):
        load_problems(str(path))


def test_a_csv_row_with_too_many_cells_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("question,answer\na,1\nb,1,000\n")
    with pytest.raises(ProblemsError, match="line 3: has more cells than the header"):
        load_problems(str(path))


def test_a_csv_row_with_too_few_cells_lacks_its_answer(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("question,answer\na,1\nb\n")
    with pytest.raises(ProblemsError, match="line 3: has no answer"):
        load_problems(str(path))


@pytest.mark.parametrize("name", ["s.parquet", "s.arrow"])
def test_a_torn_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PAR1 and no more")
    with pytest.raises(ProblemsError, match=r"cannot be read.*complete"):
        load_problems(str(tmp_path / name))


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "s.xlsx").write_bytes(b"")
    with pytest.raises(ProblemsError, match=r"\.csv, \.json, \.jsonl"):
        load_problems(str(tmp_path / "s.xlsx"))


def test_a_split_of_one_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="--split chooses within a datasets folder"):
        load_problems(write_jsonl(tmp_path / "s.jsonl", ROWS), split="train")
