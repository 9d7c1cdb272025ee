"""Foreign files through the real sandbox and verifier into the store."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from storage.datasets import Store
from storage.records import Ending, Outcome, Program, Trajectory
from storage.sql import query
from tests.data.foreign_rows import (
    NUMINA,
    OPENMATH,
    OPENMATHINSTRUCT,
    QWEN3,
    RETOOL,
    SHAREGPT,
    TORA,
    VERL_RETOOL,
)
from tirgen.data.errors import ProblemsError
from tirgen.data.responses import find_format
from tirgen.jobs.import_config import ImportConfig
from tirgen.jobs.importing import ImportReport, import_trajectories

SHARED = Path(os.environ.get("TIRGEN_SHARED", Path(__file__).parents[3] / "shared"))
RECORDED = SHARED / "data" / "recorded" / "tora_code_34b_gsm8k.jsonl"


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "foreign.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def imported(path: Path, limit: int | None = None, **settings: Any) -> ImportReport:
    config = ImportConfig(dataset="f", path=path, format=find_format(path), **settings)
    store = Store(path.parent / "store")
    return asyncio.run(import_trajectories(config, store, limit))


def rows(report: ImportReport) -> list[Trajectory]:
    return list(report.version.read())


def test_a_response_becomes_a_trajectory_that_was_run_and_judged_here(tmp_path: Path) -> None:
    first, second = rows(imported(written(tmp_path, TORA)))
    assert first.program is Program.IMPORTED
    assert [step.outcome for step in first.steps] == [Outcome.OK, None]
    assert first.correct
    assert (first.problem.problem_id, first.attempt, second.attempt) == ("foreign-3", 0, 1)
    assert first.provenance.engine == "imported tora: foreign.jsonl"
    assert first.provenance.sandbox.endswith("stateless")
    assert not second.correct


@pytest.mark.parametrize("row", [VERL_RETOOL, QWEN3, SHAREGPT, OPENMATHINSTRUCT])
def test_conversations_with_tools_are_run_and_judged_here(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    (made,) = rows(imported(written(tmp_path, {"answer": "4"} | row)))
    assert made.ending is Ending.FINISHED
    assert [step.outcome for step in made.steps] == [Outcome.OK, None]
    assert made.correct


def test_exact_digits_decide_and_are_part_of_the_identity(tmp_path: Path) -> None:
    """The same file under another precision is another import, which judges otherwise."""
    recorded = {"code": [TORA["code"][0].replace("4}", "0.333333}")], "gt": "1/3"}
    path = written(tmp_path, {**TORA, **recorded})
    strict, lenient = imported(path), imported(path, exact_digits=6)
    assert [row.correct for row in rows(strict)] == [False]
    assert [row.correct for row in rows(lenient)] == [True]
    assert lenient.reused == 0


def test_an_output_that_its_program_does_not_print_is_dropped_by_name(tmp_path: Path) -> None:
    lie = {**TORA, "code": [TORA["code"][0].replace("```output\n4", "```output\n5")]}
    (row,) = rows(imported(written(tmp_path, lie)))
    assert row.ending is Ending.OFF_FORMAT
    assert row.error == "program 1 prints '4' here, '5' was recorded"
    assert next(v.rule for v in row.filters if not v.kept) == "format"
    assert row.steps[0].observation == "5"


def test_a_program_that_fails_here_is_not_executed(tmp_path: Path) -> None:
    broken = {**TORA, "code": [TORA["code"][0].replace("print(2+2)", "print(2+2")]}
    (row,) = rows(imported(written(tmp_path, broken)))
    assert row.steps[0].outcome is Outcome.ERROR
    assert "executed" in {v.rule for v in row.filters if not v.kept}


def test_notebook_programs_share_an_interpreter_and_echo(tmp_path: Path) -> None:
    solution = OPENMATH["generated_solution"].replace(
        "It is four.", "<tool_call>\nx * 10\n</tool_call>\n```output\n20\n```\nFine."
    )
    (row,) = rows(imported(written(tmp_path, {**OPENMATH, "generated_solution": solution})))
    assert [step.outcome for step in row.steps] == [Outcome.OK, Outcome.OK, None]
    assert (row.ending, row.correct) == (Ending.FINISHED, True)
    assert row.provenance.actor_model == "QwQ-32B"
    assert row.provenance.sandbox.endswith("session")


@pytest.mark.parametrize("foreign", [NUMINA, RETOOL])
def test_without_a_gold_answer_a_response_is_not_judged(
    tmp_path: Path, foreign: dict[str, Any]
) -> None:
    (row,) = rows(imported(written(tmp_path, foreign)))
    assert row.verdict is None
    assert next(v.reason for v in row.filters if not v.kept) == "no gold answer to judge by"


def test_gold_answers_come_from_a_problem_file(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text(json.dumps({"question": "what is  2 + 2 ?", "answer": "4"}))
    (row,) = rows(imported(written(tmp_path, NUMINA), gold=(str(gold),)))
    assert row.correct
    assert row.problem.answer == "4"


def test_an_import_goes_on_where_it_stopped_and_is_reused(tmp_path: Path) -> None:
    many = [{**TORA, "idx": n, "code": TORA["code"][:1]} for n in range(6)]
    path = written(tmp_path, *many)
    first, rest, again = imported(path, limit=2), imported(path), imported(path)
    assert [(r.made, r.reused) for r in (first, rest, again)] == [(2, 0), (4, 2), (0, 6)]
    assert str(again.version) == str(rest.version) == "f@v2"


def test_two_imports_at_once_run_every_response_once(tmp_path: Path) -> None:
    path = written(tmp_path, *({**TORA, "idx": n} for n in range(3)))
    config = ImportConfig(dataset="f", path=path, format=find_format(path))

    async def twice() -> list[ImportReport]:
        store = Store(tmp_path / "store")
        return await asyncio.gather(*(import_trajectories(config, store) for _ in range(2)))

    first, second = asyncio.run(twice())
    assert sorted((first.made, second.made)) == [0, len(rows(first))]
    assert str(first.version) == str(second.version) == "f@v1"


def test_responses_that_were_run_but_never_published_are_published_by_the_next_import(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, *({**TORA, "idx": n} for n in range(2)))
    first, whole = imported(path, limit=1), imported(path)
    shutil.rmtree(whole.version.path)  # as if killed while publishing
    again = imported(path)
    assert again.made == 0
    assert len(rows(again)) == len(rows(whole)) > len(rows(first))


def test_a_corrected_gold_answer_is_judged_anew(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    said = []
    for answer in ("5", "4"):
        gold.write_text(json.dumps({"question": NUMINA["problem"], "answer": answer}) + "\n")
        (row,) = rows(imported(written(tmp_path, NUMINA), gold=(str(gold),)))
        said.append((row.problem.answer, row.correct))
    assert said == [("5", False), ("4", True)]


def test_text_that_no_file_can_hold_is_imported_with_marks_in_its_place(tmp_path: Path) -> None:
    """JSON can spell half a character; whatever a response holds, it becomes a row."""
    deep = "\\boxed{" * 1000 + "4" + "}" * 1000
    hostile = {**TORA, "question": "2\ud800?", "code": ["\udfff\x00 \\boxed{4}", deep]}
    first, second = rows(imported(written(tmp_path, hostile)))
    assert first.problem.question == "2\ufffd?"
    assert first.final_answer == "4"
    assert second.ending in (Ending.FINISHED, Ending.INTERNAL_ERROR)


def test_rows_of_another_shape_are_skipped_by_name(tmp_path: Path) -> None:
    report = imported(written(tmp_path, TORA, {"question": "no code", "gt": "1"}))
    assert [(row.line, row.why) for row in report.skipped] == [
        (2, "has no list of responses in code")
    ]
    with pytest.raises(ProblemsError, match="holds no response"):
        imported(written(tmp_path, {"question": "q", "gt": "1", "code": None}))


@pytest.mark.skipif(not RECORDED.exists(), reason=f"no {RECORDED}")
def test_real_tora_rows_are_right_where_their_publisher_counted_them_right(tmp_path: Path) -> None:
    path = tmp_path / RECORDED.name
    path.symlink_to(RECORDED)
    imported(path, limit=150)
    published = [json.loads(line) for line in RECORDED.read_text().splitlines()[:150]]
    right = {
        f"{path.stem}-{row['idx']}"
        for row in published
        if _number(row["pred"][0]) == _number(row["gt"])
    }
    found = query(
        Store(tmp_path / "store"),
        "select list(problem_id) filter (correct) as right_ones, min(n_calls) as calls, "
        "count(*) filter (ending <> 'finished') as unfinished from trajectories",
    ).to_pylist()
    assert set(found[0].pop("right_ones")) == right
    assert found == [{"calls": 1, "unfinished": 0}]


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
