"""What the journal of a run gives back: whole lines, whatever is in them and around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import InvalidName
from storage.journal import JOURNAL, Journal
from tests.storage.test_full_disk import room_for

HOSTILE = [
    'a\nb\r\nc\x00d"e\\',
    "\ud800 alone",
    "\u2028\u2029\x85\x1c",
    '00000000 ["key","another value"]',
    "x" * 1_000_000,
]


def file_of(run: Path, name: str = "t1") -> Path:
    return run / JOURNAL / f"{name}.jsonl"


def test_any_text_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = Journal(tmp_path).of("t1")
    for number, text in enumerate(HOSTILE):
        kept.append(f"key {number}", {"text": text, "logprobs": [-0.1 * number, float("-inf")]})
    found = Journal(tmp_path).of("t1").read()
    assert [found[f"key {number}"]["text"] for number in range(len(HOSTILE))] == HOSTILE
    assert found["key 3"]["logprobs"] == [-0.1 * 3, float("-inf")]
    assert len(found) == len(HOSTILE)


def test_a_line_cut_at_any_byte_is_not_there_and_harms_no_other(tmp_path: Path) -> None:
    kept = Journal(tmp_path).of("t1")
    kept.append("first", 1)
    before = file_of(tmp_path).read_bytes()
    kept.append("second", {"text": "two\n"})
    whole = file_of(tmp_path).read_bytes()
    for length in range(len(before), len(whole) - 1):
        file_of(tmp_path).write_bytes(whole[:length])
        assert kept.read() == {"first": 1}
        kept.append("third", 3)
        assert kept.read() == {"first": 1, "third": 3}


def test_no_flipped_bit_gives_another_reply(tmp_path: Path) -> None:
    kept = Journal(tmp_path).of("t1")
    kept.append("key", [1, 2.5, "text"])
    whole = file_of(tmp_path).read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file_of(tmp_path).write_bytes(flipped)
        assert kept.read() in ({}, {"key": [1, 2.5, "text"]})


def test_a_dropped_trajectory_leaves_nothing_and_no_other_loses_anything(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.unfinished() == set()
    for name in ("t1", "t2"):
        journal.of(name).append("key", name)
    assert journal.unfinished() == {"t1", "t2"}
    journal.drop("t1")
    journal.drop("t1")
    assert journal.unfinished() == {"t2"}
    assert journal.of("t1").read() == {}
    assert journal.of("t2").read() == {"key": "t2"}
    journal.clear()
    journal.clear()
    assert journal.unfinished() == set()


def test_a_full_disk_is_told_and_spoils_nothing(tmp_path: Path) -> None:
    kept = Journal(tmp_path).of("t1")
    kept.append("first", 1)
    with room_for(1000), pytest.raises(OSError, match=r"bytes fit into|File too large"):
        kept.append("second", "x" * 5000)
    assert kept.read() == {"first": 1}
    kept.append("third", 3)
    assert kept.read() == {"first": 1, "third": 3}


def test_no_name_leads_out_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidName):
        Journal(tmp_path).of("../t1")
