"""A small document comes back as it was, or is refused: whatever bit of it is flipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage import documents
from storage.errors import Damaged

DOCUMENT = {"version": "v3", "seconds": 0.1, "names": ["a", "ä\n"], "none": None, "by": {"x": 1}}


@pytest.mark.parametrize("indent", [None, 2])
def test_no_flipped_bit_gives_another_document(indent: int | None) -> None:
    whole = documents.dump(DOCUMENT, indent)
    assert documents.parse(whole) == DOCUMENT
    refused = 0
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = documents.parse(bytes(flipped))
        except ValueError:
            refused += 1
        else:  # white space
            assert found == DOCUMENT
    assert refused > 7 * len(whole)


def test_a_document_of_an_earlier_tirgen_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(DOCUMENT))
    assert documents.read(path) == DOCUMENT


def test_keys_that_are_numbers_are_read_as_text() -> None:
    keyed = {9: "nine", 10: "ten"}
    assert documents.parse(documents.dump({"k": keyed})) == {"k": {"9": "nine", "10": "ten"}}


def test_a_line_that_is_cut_is_left_out_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    line = documents.dump({"step": 1}) + b"\n"
    path.write_bytes(line + line[:-5])
    assert [found for _, found in documents.lines(path)] == [{"step": 1}]
    for changed in (line.replace(b"1", b"2", 1) + line, line[:-1] + b"~"):
        path.write_bytes(changed)
        with pytest.raises(Damaged, match="line 1"):
            list(documents.lines(path))
