"""``tirgen dataset export`` as it is typed."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import run
from storage.datasets import Store
from storage.records import (
    Ending,
    FilterVerdict,
    Outcome,
    Problem,
    Program,
    Step,
    Trajectory,
    Verdict,
)
from tests.rows import PROVENANCE
from tirgen.data.responses import ResponseReader, find_format
from tirgen.tir.markup import parse_trajectory

Run = Callable[..., None]
STEPS = (
    Step(thought="I multiply.", action="print(6 * 7)", observation="42", outcome=Outcome.OK),
    Step(thought="So \\boxed{42}."),
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    def row(number: int, *, kept: bool) -> Trajectory:
        problem = Problem(
            problem_id=f"p{number}",
            source="unit",
            question="6 * 7?",
            answer="42",
            difficulty=str(number % 2),
        )
        return Trajectory(
            trajectory_id=f"t{number}",
            dataset="demo",
            program=Program.TIRGEN,
            attempt=0,
            problem=problem,
            steps=STEPS,
            final_answer="42",
            ending=Ending.FINISHED,
            verdict=Verdict(correct=True, method="symbolic", reason="42 = 42"),
            filters=(FilterVerdict(rule="r", kept=kept),),
            provenance=replace(PROVENANCE),
            created_at=0.0,
        )

    rows = [row(number, kept=number != 3) for number in range(10)]
    run = Store(tmp_path / "store").open_run("demo", {"actor": {}}, "c0ffee")
    run.publish(rows, {})
    return tmp_path / "store"


def export(store: Path, *arguments: str) -> None:
    assert run(["dataset", "export", "demo", *arguments, "--store", str(store)]) == 0


def test_kept_rows_go_to_a_file(store: Path, tmp_path: Path) -> None:
    export(store, str(tmp_path / "a.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(rows) == 9
    assert rows[0]["messages"][-1]["content"] == "So \\boxed{42}."


def test_all_rows_of_a_condition_go_to_stdout(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(store, "-", "--all", "--where", "difficulty = '1'", "--format", "messages")
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_folder_is_a_dataset_with_a_card(store: Path, tmp_path: Path) -> None:
    export(store, f"{tmp_path}/out/", "--validation", "0.5", "--license", "mit")
    assert "## What was dropped, and why" in (tmp_path / "out" / "README.md").read_text()
    assert {path.name for path in (tmp_path / "out" / "data").iterdir()} == {
        "train-00000.parquet",
        "validation-00000.parquet",
    }


@pytest.mark.parametrize("format", ["tools", "messages", "atif"])
def test_what_is_written_can_be_imported(store: Path, tmp_path: Path, format: str) -> None:
    path = tmp_path / "rows.jsonl"
    export(store, str(path), "--format", format)
    layout = find_format(path)
    reader = ResponseReader(path=path, format=layout, gold=(), dataset="d", config_hash="c")
    read = list(reader.responses())
    assert len(read) == (10 if format == "atif" else 9)  # which has dropped rows too
    assert {(one.problem.question, one.problem.answer) for one in read} == {("6 * 7?", "42")}
    steps = [(step.thought.strip(), step.action, step.observation) for step in STEPS]
    for one in read:
        found = parse_trajectory(one.foreign.response)
        assert [(step.thought.strip(), step.action, step.observation) for step in found] == steps


def test_what_was_written_is_told_as_json(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(store, str(tmp_path / "a.parquet"), "--shard-size", "4", "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], [file["rows"] for file in said["files"]]) == (9, [4, 4, 1])


def test_a_pipe_gets_json_lines(store: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    export(store, str(pipe))
    said, _ = reader.communicate()
    assert len(said.splitlines()) == 9


def test_a_version_with_the_settings_of_another_tirgen_is_no_bug(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Store(store).version("demo")
    Store(store).open_run("old", {"actor": {"kind": "gone"}}, "h").publish(made.read(), {})
    assert run(["dataset", "export", "old", "out.jsonl", "--store", str(store)]) == 2
    said = capsys.readouterr().err
    assert "old@v1 was made by another version of tirgen" in " ".join(said.split())
    assert "actor.kind" in said
