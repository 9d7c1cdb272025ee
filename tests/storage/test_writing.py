"""Files that users name: there as a whole, or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from storage import files


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with files.writing(path) as stream:
        stream.write("né")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text("utf-8") == "né"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_what_fails_on_the_way_leaves_everything_as_it_was(
    tmp_path: Path, fault: type[BaseException]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")

    def breaks() -> None:
        with files.writing(path) as stream:
            stream.write("half")
            raise fault

    with pytest.raises(fault):
        breaks()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(path.read_text()))
    reader.start()
    with files.writing(path) as stream:
        stream.write("rows")
    reader.join(10)
    assert heard == ["rows"]
    assert path.is_fifo()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with pytest.raises(FileNotFoundError, match="no such folder") as caught:
        files.writing(folder / "rows.jsonl").__enter__()
    assert caught.value.filename == str(folder)
