"""A write that the disk has no room for leaves nothing behind."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import files
from storage.commits import Commits

TOO_MUCH = b"x" * 100_000


@contextmanager
def room_for(most: int) -> Iterator[None]:
    """Files may not grow beyond so many bytes: the system refuses as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def atomic(folder: Path) -> None:
    files.write_atomic(folder / "file", TOO_MUCH)


def streamed(folder: Path) -> None:
    with files.writing(folder / "file") as stream:
        stream.write(TOO_MUCH.decode())


def committed(folder: Path) -> None:
    def write(path: Path) -> None:
        path.write_bytes(TOO_MUCH)

    Commits(folder).commit("batch", 1, write)


def prepared(folder: Path) -> None:
    with files.temporary_for(folder / "version") as temporary:
        temporary.mkdir()
        (temporary / "part").write_bytes(TOO_MUCH)


@pytest.mark.parametrize("write", [atomic, streamed, committed, prepared])
def test_nothing_half_written_stays(write: Callable[[Path], None], tmp_path: Path) -> None:
    with room_for(1000), pytest.raises(OSError, match="File too large"):
        write(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")] == []
    write_again = tmp_path / "again"
    write_again.mkdir()
    if write is not prepared:
        write(write_again)  # and it was the room alone
        assert any(path.stat().st_size >= len(TOO_MUCH) for path in write_again.rglob("*"))
