"""The command line as its users meet it: data on stdout, narration on stderr, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from flows.cli import run
from flows.tree import tree
from storage.macros import MACROS
from storage.view_meanings import VIEWS

MODEL = Path(__file__).parents[2] / "tirgen" / "embedded" / "pocket" / "model"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_dry_run_prints_the_resolved_configuration_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = call(
        capsys, "generate", "--limit", "7", "--set", "loop.step_tokens=99", "--dry-run",
        "--json", "--store", str(tmp_path / "s"),
    )  # fmt: skip
    assert code == 0
    config = json.loads(out)["config"]
    assert config["problems"]["limit"] == 7
    assert config["loop"]["step_tokens"] == 99
    assert not (tmp_path / "s").exists()


def test_a_configuration_file_is_read_and_flags_win(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text('attempts = 3\nseed = 5\n[problems]\npath = "pocket:train"\n')
    code, out, _ = call(
        capsys, "generate", "--config", str(file), "--seed", "6", "--dry-run", "--json"
    )
    config = json.loads(out)["config"]
    assert code == 0
    assert (config["attempts"], config["seed"]) == (3, 6)
    assert config["problems"]["path"] == "pocket:train"


def test_a_dry_run_shows_people_each_setting_as_set_takes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = call(capsys, "generate", "--set", "loop.step_tokens=99", "--dry-run")
    assert code == 0
    assert "loop.step_tokens = 99\n" in out
    assert "nothing was run" in err
    again = [part for line in out.splitlines() for part in ("--set", line.replace(" = ", "=", 1))]
    assert call(capsys, "generate", *again, "--dry-run")[1] == out


def test_a_dry_run_reads_the_problems_and_counts_what_no_answer_can_be_judged_by(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = ["1", "proof", "1 & & 2"]
    rows.write_text(
        "".join(f'{{"problem": "q{n}", "answer": "{a}"}}\n' for n, a in enumerate(lines))
    )
    asked = ["generate", "--problems", str(rows), "--dry-run", "--store", str(tmp_path / "s")]
    code, _, err = call(capsys, *asked)
    assert code == 0
    assert "2 problems, read by the layout 'plain'" in err
    assert "left out 1 row: has 'proof' for an answer" in err
    assert "1 gold answers cannot be verified" in err
    problems = json.loads(call(capsys, *asked, "--json")[1])["problems"]
    assert [each["problem_id"][:5] for each in problems["undecidable"]] == ["rows-"]
    assert not (tmp_path / "s").exists()


def test_a_run_counts_what_no_answer_can_be_judged_by_before_its_first_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"problem": "q", "answer": "1 & & 2"}\n')
    asked = ["generate", "--problems", str(rows), "--dataset", "x", "--attempts", "1"]
    _, _, err = call(capsys, *asked, "--store", str(tmp_path / "s"))
    assert 0 <= err.find("1 gold answers cannot be verified") < err.find("starting fresh")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "loop.step_tokens=0"], "loop.step_tokens"),
        (["--set", "no_such_setting=1"], "no_such_setting: there is no such setting"),
        (["--set", "loop.step_token=9"], "did you mean loop.step_tokens?"),
        (["--set", "filters.judge_count=true"], "did you mean filters.judge_counts?"),
        (["--dataset", "My Data!"], "'My Data!' has characters that are not allowed"),
        (["--set", "nonsense"], "expected NAME=VALUE"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--problems", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_bad_settings_are_named_and_exit_with_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], says: str
) -> None:
    code, out, err = call(capsys, "generate", *arguments, "--store", str(tmp_path))
    assert code == 2
    assert says in err
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_an_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = call(capsys, "generat")
    assert code == 2


def test_an_argument_that_is_missing_is_named_as_the_help_names_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = call(capsys, "traj", "show")
    assert code == 2
    assert "TRAJECTORY_ID requires an argument" in err


def test_what_is_not_there_exits_with_3_and_names_the_next_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = call(capsys, "dataset", "show", "nothing", "--store", str(tmp_path), "--json")
    error = json.loads(out)["error"]
    assert code == 3
    assert error["kind"] == "not_found"
    assert "tirgen dataset list" in error["hint"]


def test_an_engine_out_of_reach_exits_with_4_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = call(
        capsys, "generate", "--actor", "http://127.0.0.1:9/v1", "--actor-model", "m",
        "--set", f"actor.tokenizer={MODEL}", "--store", str(tmp_path),
    )  # fmt: skip
    assert code == 4
    assert "127.0.0.1:9" in err
    assert not list(tmp_path.iterdir())


def test_a_missing_key_exits_with_4_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = call(
        capsys, "generate", "--actor", "http://127.0.0.1:9/v1", "--actor-model", "m",
        "--set", "actor.api_key_env=TIRGEN_TEST_NO_SUCH_KEY", "--store", str(tmp_path),
    )  # fmt: skip
    assert code == 4
    assert "TIRGEN_TEST_NO_SUCH_KEY" in err


def test_a_file_to_import_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = tmp_path / "tora.jsonl"
    asked = ["dataset", "import", str(missing), "--dataset", "d", "--store", str(tmp_path / "s")]
    code, _, err = call(capsys, *asked)
    assert code == 2
    assert f"{missing}: no such file" in err


def test_bad_rows_are_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "1+1?", "answer": "2"}\n{"question": "", "answer": "2"}\n')
    code, _, err = call(
        capsys, "generate", "--problems", str(rows), "--store", str(tmp_path / "store")
    )
    assert code == 2
    assert "line 2" in err
    assert "--skip-bad-rows" in err
    assert not (tmp_path / "store").exists()


def test_sql_on_an_empty_store_is_an_empty_array(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = call(capsys, "sql", "from trajectories", "--store", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(out) == []


def test_numbers_of_sql_are_numbers_of_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sql = "select sum(n) as s, 1.5 as d, 1 / 0 as f, [2.0::decimal(4, 1)] as l from range(4) t(n)"
    _, out, _ = call(capsys, "sql", sql, "--store", str(tmp_path), "--json")
    assert out == '[{"s": 6, "d": 1.5, "f": null, "l": [2]}]\n'


def test_bad_sql_exits_with_2_and_names_the_views(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = call(capsys, "sql", "select nothing from nowhere", "--store", str(tmp_path))
    assert code == 2
    assert "trajectories" in err


@pytest.mark.parametrize(
    "asked",
    [
        ["traj", "list", "--limit", "0"],
        ["sandbox", "serve", "--port", "65536"],
        ["serve", "--port", "-1"],
        ["up", "--port", "65535"],
        ["improve", "--processes", "0"],
    ],
)
def test_a_number_out_of_bounds_is_a_mistake_of_usage(
    capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    code, out, err = call(capsys, *asked)
    assert (code, out) == (2, "")
    assert asked[-2] in err


def test_reading_where_no_store_is_says_so_beside_the_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = tmp_path / "none"
    code, out, err = call(capsys, "sql", "from trajectories", "--store", str(missing), "--json")
    assert (code, json.loads(out)) == (0, [])
    assert f"no folder {missing}" in err


def test_sql_without_a_statement_lists_every_view_and_an_example(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = call(capsys, "sql", "--store", str(tmp_path), "--json")
    assert code == 0
    assert [row["from"] for row in json.loads(out)] == [*VIEWS, *MACROS]
    assert 'tirgen sql "select' in err
    assert "error" not in err


@pytest.mark.parametrize(
    ("asked", "help_of"),
    [
        (["traj", "show"], "tirgen traj show --help"),
        (["traj", "shwo"], "tirgen traj --help"),
        (["generat"], "tirgen --help"),
        (["sql", "select 1", "--nothing"], "tirgen sql --help"),
    ],
)
def test_a_mistake_of_usage_names_the_help_that_helps(
    capsys: pytest.CaptureFixture[str], asked: list[str], help_of: str
) -> None:
    code, _, err = call(capsys, *asked)
    assert (code, err.splitlines()[-1]) == (2, f"next: {help_of}")
    assert call(capsys, *help_of.split()[1:])[0] == 0
    assert json.loads(call(capsys, *asked, "--json")[1])["error"]["hint"] == help_of


def commands(of: App, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command that does something, by the words that call it."""
    for name, sub in of.resolved_commands().items():
        if name.startswith("-"):
            continue
        if sub.default_command:
            yield (*path, name)
        yield from commands(sub, *path, name)


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(commands(tree()))
    assert ("dataset", "export") in found
    for command in found:
        code, out, _ = call(capsys, *command, "--help")
        assert code == 0
        assert command == ("demo",) or "Example" in out, command


def test_a_bug_of_ours_exits_with_70(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("flows.commands.sql.query", lambda store, sql: 1 / 0)
    code, _, err = call(capsys, "sql", "select 1", "--store", str(tmp_path))
    assert code == 70
    assert "ZeroDivisionError" in err


def test_a_sandbox_open_to_the_network_needs_a_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIRGEN_SANDBOX_TOKEN", raising=False)
    code, _, err = call(capsys, "sandbox", "serve", "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "TIRGEN_SANDBOX_TOKEN" in err


def test_doctor_examines_what_a_configuration_asks_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[sandbox]\nservices = ["http://127.0.0.1:9"]\n')
    code, out, _ = call(capsys, "doctor", "--config", str(file), "--store", str(tmp_path), "--json")
    [sandbox] = [finding for finding in json.loads(out) if finding["check"] == "sandbox"]
    assert code == 4
    assert sandbox["level"] == "FAIL"
    assert "127.0.0.1:9" in sandbox["found"] + sandbox["fix"]


def test_a_place_that_cannot_be_a_store_is_told_with_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    code, _, err = call(capsys, "generate", "--limit", "1", "--store", str(tmp_path / "file"))
    assert code == 1
    assert f"{tmp_path / 'file'}" in err
    assert "a folder where one is needed (as for --store)" in err


def test_rows_too_wide_for_a_table_are_shown_one_below_the_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    columns = ", ".join(f"{n} AS column_{n}" for n in range(40))
    sql = f"SELECT {columns}, repeat('x', 1000) AS long FROM range(2)"
    code, out, _ = call(capsys, "sql", sql, "--store", str(tmp_path))
    assert code == 0
    assert [line.split() for line in out.splitlines()].count(["column_39", "39"]) == 2
    assert "600 more characters" in " ".join(out.split())


def test_a_reader_that_has_enough_is_no_failure(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "flows", "sql", "FROM range(100000)", "--store", str(tmp_path)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""
    assert process.returncode == 0
