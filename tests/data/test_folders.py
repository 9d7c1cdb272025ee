"""Hugging Face datasets folders: as published, and as `save_to_disk` writes them."""

import json
from pathlib import Path

import pytest

from tests.data.writing import Fields, write_arrow, write_jsonl, write_parquet
from tirgen.data.errors import ProblemsError
from tirgen.data.load import load_problems


def rows(text: str) -> list[Fields]:
    return [{"question": letter, "answer": "1"} for letter in text]


def questions(folder: Path, split: str | None = None) -> str:
    return "".join(p.question for p in load_problems(str(folder), split=split).problems)


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", rows("cd"))
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", rows("ab"))
    (tmp_path / "README.md").write_text("card")
    assert questions(tmp_path) == "abcd"


@pytest.mark.parametrize(("split", "expected"), [("train", "a"), ("test", "b"), ("hard", "c")])
def test_a_split_is_chosen_by_name(split: str, expected: str, tmp_path: Path) -> None:
    for name, text in (("train", "a"), ("test", "b"), ("hard", "c")):
        write_parquet(tmp_path / "data" / f"{name}-00000-of-00001.parquet", rows(text))
    assert questions(tmp_path, split) == expected


def test_several_splits_must_be_chosen_from(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", rows("a"))
    write_jsonl(tmp_path / "test.jsonl", rows("b"))
    with pytest.raises(ProblemsError, match="--split: test, train"):
        questions(tmp_path)
    with pytest.raises(ProblemsError, match="no split 'dev'"):
        questions(tmp_path, "dev")


def test_folders_may_name_splits(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train" / "part1.jsonl", rows("a"))
    write_jsonl(tmp_path / "test" / "part1.jsonl", rows("b"))
    assert questions(tmp_path, "test") == "b"


def test_files_that_name_no_split_are_the_training_split(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "dapo-math-17k.parquet", rows("a"))
    assert questions(tmp_path) == questions(tmp_path, "train") == "a"


def test_save_to_disk_of_one_dataset(tmp_path: Path) -> None:
    write_arrow(tmp_path / "data-00000-of-00002.arrow", rows("a"))
    write_arrow(tmp_path / "data-00001-of-00002.arrow", rows("b"))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": {}}))
    (tmp_path / "state.json").write_text("{}")
    assert questions(tmp_path) == "ab"


def test_save_to_disk_of_a_dataset_dict(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    for split, text in (("train", "a"), ("test", "b")):
        write_arrow(tmp_path / split / "data-00000-of-00001.arrow", rows(text))
        (tmp_path / split / "state.json").write_text("{}")
    assert questions(tmp_path, "test") == "b"


def test_configurations_are_not_mixed(tmp_path: Path) -> None:
    for name in ("main", "socratic"):
        write_parquet(tmp_path / name / "test-00000-of-00001.parquet", rows("a"))
    with pytest.raises(ProblemsError, match=r"configurations \(main, socratic\)"):
        questions(tmp_path)
    assert questions(tmp_path / "main") == "a"


def test_formats_are_not_mixed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", rows("a"))
    write_jsonl(tmp_path / "train.jsonl", rows("a"))
    with pytest.raises(ProblemsError, match=r"formats \(\.jsonl, \.parquet\)"):
        questions(tmp_path)


def test_the_source_names_folder_and_split(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gsm" / "train.jsonl", rows("a"))
    [problem] = load_problems(str(tmp_path / "gsm"), split="train").problems
    assert problem.source == "gsm:train"


def test_hidden_files_are_not_data(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", rows("a"))
    write_jsonl(tmp_path / ".cache" / "train.jsonl", rows("b"))
    assert questions(tmp_path) == "a"


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="holds no data files"):
        questions(tmp_path)
