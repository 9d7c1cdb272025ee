"""The commands around curation, through the command line's own entrance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import run
from flows.commands.alignment import pieces
from storage.datasets import Store
from tirgen.embedded.models import MODEL_DIR
from tirgen.tir.markup import response_text

RESPONSE = "We add.\n```python\nprint(sum([2, 2]))\n```\n```output\n4\n```\nIt is $\\boxed{4}$."


def imported(tmp_path: Path, *arguments: str) -> list[str]:
    rows = [
        {"idx": n, "question": f"What is {n} and 2+2?", "gt": "4", "code": [RESPONSE]}
        for n in range(3)
    ]
    file = tmp_path / "foreign.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = ["--store", str(tmp_path / "store"), "--json"]
    return ["dataset", "import", str(file), "--dataset", "f", *arguments, *place]


def call(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, Any]:
    code = run(arguments)
    return code, json.loads(capsys.readouterr().out)


def test_import_then_curate_then_lineage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = '{"off": ["code_quality", "call_balance"]}'
    code, document = call(capsys, imported(tmp_path, "--set", f"filters={settings}"))
    assert (code, document["kept"], document["made_now"]) == (0, 3, 3)
    place = ["--store", str(tmp_path / "store"), "--json"]
    command = ["dataset", "curate", "f", "--set", "filters.minimum_calls=2", *place]
    code, dry = call(capsys, [*command, "--dry-run"])
    assert (code, dry["kept"], dry["version"]) == (0, 0, None)
    code, made = call(capsys, command)
    assert (made["version"], made["made_from"], made["kept_before"]) == ("f@v2", "f@v1", 3)
    code, versions = call(capsys, ["dataset", "list", *place])
    assert versions[0]["made_from"] == "f@v1"


def test_an_unknown_shape_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = imported(tmp_path)
    Path(arguments[2]).write_text('{"prompt": "?"}\n')
    code, document = call(capsys, arguments)
    assert code == 2
    assert "has no known layout" in document["error"]["message"]


def test_the_pieces_of_a_trajectory_are_its_whole_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call(capsys, imported(tmp_path, "--limit", "1"))
    (row,) = Store(tmp_path / "store").version("f").read()
    pytest.importorskip("torch", reason="pieces are the trainer's")
    assert "".join(piece.text for piece in pieces(row)) == response_text(row.steps)
    kinds = [piece.kind and piece.kind.value for piece in pieces(row)]
    assert kinds == ["thought", "action", None, "thought"]


def test_packaged_problems_are_benchmarks_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call(capsys, imported(tmp_path, "--limit", "1"))
    place = ["--store", str(tmp_path / "store"), "--json", "--dry-run"]
    code, document = call(capsys, ["dataset", "curate", "f", "--against", "pocket:test", *place])
    assert (code, document["matches"]) == (0, [])


def test_alignment_draws_what_it_tells(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="scoring is the trainer's")
    settings = 'filters={"off": ["code_quality", "call_balance"]}'
    call(capsys, imported(tmp_path, "--set", settings))
    plot = tmp_path / "figure.svg"
    command = ["dataset", "alignment", "f", "--policy", str(MODEL_DIR), "--prompts", "pocket"]
    place = ["--store", str(tmp_path / "store"), "--plot", str(plot), "--json"]
    code, lines = call(capsys, [*command, *place])
    assert code == 0
    assert {line["kind"] for line in lines} == {"thought", "action"}
    assert all(line["mean_logprob"] < -1 for line in lines)
    assert "f@v1" in plot.read_text("utf-8")
