"""The same rows come out of every format; what no reader can read is refused by name."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.writing import Fields, write_arrow, write_csv, write_jsonl, write_parquet
from tirgen.data.errors import ProblemsError
from tirgen.data.load import load_problems

ROWS: list[Fields] = [
    {"question": 'A "quoted", two-line\nquestion?', "answer": "1", "level": "Level 1"},
    {"question": "¿Cuánto es $x$?", "answer": r"\frac{1}{2}", "level": "Level 2"},
]


def write_json(path: Path, rows: list[Fields]) -> str:
    path.write_text(json.dumps(rows, indent=1))
    return str(path)


def write_tsv(path: Path, rows: list[Fields]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
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


COMPRESSED: dict[str, Literal["gzip", "bz2", "zstd", "lz4"]] = {
    ".gz": "gzip",
    ".bz2": "bz2",
    ".zst": "zstd",
    ".lz4": "lz4",
}


@pytest.mark.parametrize("name", ["s.jsonl", "s.json", "s.csv", "s.tsv"])
@pytest.mark.parametrize("ending", COMPRESSED)
def test_compressed_text_holds_the_same_problems(name: str, ending: str, tmp_path: Path) -> None:
    write = {".jsonl": write_jsonl, ".json": write_json, ".csv": write_csv, ".tsv": write_tsv}
    plain = Path(write[Path(name).suffix](tmp_path / name, ROWS))
    with pa.output_stream(f"{plain}{ending}", compression=COMPRESSED[ending]) as out:
        out.write(plain.read_bytes())
    plain.unlink()
    problems = load_problems(f"{plain}{ending}").problems
    assert [p.answer for p in problems] == ["1", r"\frac{1}{2}"]
    assert problems[0].source == "s"


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"question": "q", "answer": "1"}\n' * 9000)[:-40])
    with pytest.raises(ProblemsError, match=r"s\.jsonl\.gz cannot be read as \.jsonl.*complete"):
        load_problems(str(path))


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_the_delimiter_of_a_csv_is_told_by_its_header(delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(delimiter.join(["question", "answer"]) + f'\n"a, b; c"{delimiter}1\n')
    [problem] = load_problems(str(path)).problems
    assert (problem.question, problem.answer) == ("a, b; c", "1")


def test_a_record_that_is_no_csv_spoils_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text('question,answer\na,1\n"b"x,2\nc,3\n')
    found = load_problems(str(path), skip_bad_rows=True)
    assert [p.question for p in found.problems] == ["a", "c"]
    [bad] = found.skipped
    assert (bad.line, bad.why) == (3, "is not CSV (',' expected after '\"')")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["s.jsonl", "s.json", "s.csv"])
def test_utf16_is_called_by_its_name(encoding: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text('[{"question": "q", "answer": "1"}]\n', encoding=encoding)
    with pytest.raises(ProblemsError, match="is UTF-16, not UTF-8; convert it: iconv -f UTF-16"):
        load_problems(str(path))


@pytest.mark.parametrize("name", ["s.jsonl", "s.json", "s.csv", "s.tsv"])
def test_cp1252_is_called_by_its_name(name: str, tmp_path: Path) -> None:
    write = {".jsonl": write_jsonl, ".json": write_json, ".csv": write_csv, ".tsv": write_tsv}
    path = Path(write[Path(name).suffix](tmp_path / name, [{"question": "q", "answer": "EUR"}]))
    path.write_bytes(path.read_bytes().replace(b"EUR", b"5 \x80"))
    with pytest.raises(ProblemsError, match="likely CP1252"):
        load_problems(str(path))


def test_a_parquet_row_of_broken_text_spoils_itself_only(tmp_path: Path) -> None:
    questions = pa.array([b"a", b"\xff", b"c"]).cast(pa.binary()).view(pa.string())
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"question": questions, "answer": ["1", "2", "3"]}), path)
    found = load_problems(str(path), skip_bad_rows=True)
    assert [p.question for p in found.problems] == ["a", "c"]
    assert [(row.line, row.why) for row in found.skipped] == [(2, "holds text that is not UTF-8")]
