"""What a command imports before it does its work, and that an interrupt meanwhile ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from flows.cli import run
from flows.tree import COMMANDS, GROUPS, called, tree

HEAVY = ("numpy", "pyarrow", "duckdb", "pydantic", "aiohttp", "openvino_genai", "sympy", "torch")
"""Each is a tenth of a second or more of imports."""


def imported(*arguments: str) -> set[str]:
    """The packages in memory once a command line is done."""
    code = (
        "import sys; from flows.cli import run; code = run(sys.argv[1:]); "
        "print(code, *{name.partition('.')[0] for name in sys.modules}, "
        "*(name for name in sys.modules if name.startswith('flows.commands.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "asked",
    [[], ["--help"], ["--version"], ["generat"], ["traj", "--help"], ["dataset", "lst"]],
    ids=" ".join,
)
def test_help_and_mistakes_import_nothing_that_works(asked: list[str]) -> None:
    found = imported(*asked)
    assert not found & set(HEAVY)
    assert not {name for name in found if name.startswith("flows.commands.")}


def test_a_query_imports_no_engine_no_configuration_and_no_other_command() -> None:
    found = imported("sql", "select 1")
    assert not found & {"pydantic", "aiohttp", "openvino_genai", "sympy", "tokenizers", "jinja2"}
    assert {name for name in found if name.startswith("flows.commands.")} == {
        "flows.commands.options",
        "flows.commands.sql",
    }


def test_an_index_without_questions_imports_no_scipy() -> None:
    """It stands for benchmarks in every generation; scipy takes most of a second."""
    code = (
        "import sys; from tirgen.data.contamination import load_benchmarks; "
        "assert load_benchmarks((), 0.5).find('What is 2 + 2?') is None; "
        "print({'scipy', 'redis', 'datasketch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_command_is_summed_up_by_the_first_line_of_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = tree()
    for words, command in COMMANDS.items():
        own = app
        for word in words.split():
            own = own[word]
        assert own.help.splitlines()[0] == command.summary, words
    assert {words.split()[0] for words in COMMANDS if " " in words} == set(GROUPS)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["sql", "select 1"], "sql"),
        (["traj", "show", "t1", "--json"], "traj show"),
        (["--help", "dataset", "import"], "dataset import"),
        (["sql", "status"], "sql"),
        (["dataset", "lst"], "dataset"),
        (["nothing", "sql"], ""),
    ],
)
def test_the_command_is_told_from_its_arguments(arguments: list[str], command: str) -> None:
    assert called(arguments) == command


def test_common_options_are_described_once(capsys: pytest.CaptureFixture[str]) -> None:
    for words in COMMANDS:
        assert run([*words.split(), "--help"]) == 0
        said = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for option, what in (
            ("--store", "Folder of the store, or a bucket as s3://BUCKET/PREFIX"),
            ("--json", "Print one JSON document on stdout, not text for people."),
            ("--set", "Any other setting as NAME=VALUE"),
        ):
            assert (f"{option} " in said.split("Parameters")[-1]) == (what in said), (words, option)


@pytest.mark.parametrize("module", ["cyclopts", "flows.commands.sql", "numpy"])
def test_an_interrupt_while_importing_ends_quietly(module: str) -> None:
    interrupted = f"""
import os, signal, sys, importlib.abc

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["tirgen", "sql", "select 1"]
from flows.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: interrupted")
