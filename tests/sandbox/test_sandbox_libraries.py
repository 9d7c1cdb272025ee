"""Honest programs behave alike in every mode, and in an environment that the user brings."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run
from tirgen.jobs.doctor import sandbox_findings
from tirgen.sandbox.contract import Limits, SandboxUnavailable
from tirgen.sandbox.libraries import LIBRARIES
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.modes import IsolationMode
from tirgen.sandbox.program_settings import SandboxSettings

CORPUS = {
    "print(6 * 7)": "42\n",
    "print(len(str(7 ** 20_000)))": "16902\n",
    "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n"
    "    f.write('kept'); f.seek(0); print(f.read())": "kept\n",
    "import os, tempfile\nwith tempfile.TemporaryDirectory() as d:\n"
    "    open(f'{d}/x', 'w').write('1'); print(os.listdir(d))": "['x']\n",
    "with open('data.csv', 'w') as f: f.write('a,b\\n1,2\\n')\n"
    "import csv; print(list(csv.DictReader(open('data.csv'))))": "[{'a': '1', 'b': '2'}]\n",
    "import pathlib, shutil\np = pathlib.Path('deep/er'); p.mkdir(parents=True)\n"
    "(p / 'x').write_text('2'); print((p / 'x').read_text()); shutil.rmtree('deep')\n"
    "print(p.exists())": "2\nFalse\n",
    "import os\nopen('a', 'w').write('3'); os.replace('a', 'b'); print(open('b').read())": "3\n",
    "import numpy as np\nnp.save('x.npy', np.arange(3)); print(np.load('x.npy').sum())": "3\n",
    "import sqlite3\ndb = sqlite3.connect(':memory:')\n"
    "print(db.execute('select 6 * 7').fetchone())": "(42,)\n",
    "import sympy\nprint(sympy.factorint(360))": "{2: 3, 3: 2, 5: 1}\n",
    "try: input()\nexcept EOFError: print('no input')": "no input\n",
}
"""Programs and what they print."""


@pytest.mark.parametrize("program", CORPUS, ids=range(len(CORPUS)))
def test_honest_programs_behave_alike_in_every_jail(run: Run, program: Any) -> None:
    execution = run(program)
    assert (execution.outcome, execution.stdout) == (Outcome.OK, CORPUS[program]), execution


def test_honest_programs_behave_alike_without_a_jail() -> None:
    async def printed() -> dict[str, str]:
        async with LocalSandbox(mode="posix") as sandbox:
            ends = [await sandbox.run(program, Limits()) for program in CORPUS]
        return {program: end.stdout for program, end in zip(CORPUS, ends, strict=True)}

    assert asyncio.run(printed()) == CORPUS


def test_matplotlib_draws_in_every_jail(run: Run) -> None:
    pytest.importorskip("matplotlib")
    execution = run(
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\n"
        "plt.plot([1, 2]); plt.savefig('plot.png')\n"
        "print(open('plot.png', 'rb').read(4))",
        cpu_seconds=30,
        wall_seconds=60,
    )
    assert execution.stdout == "b'\\x89PNG'\n", execution


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment of a user's own, with one package."""
    folder = tmp_path_factory.mktemp("own") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "tiny_library.py").write_text("ANSWER = 42\n")
    threads = "import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()\n"
    (packages / "starts_threads.py").write_text(threads)
    return str(folder / "bin/python")


async def output(code: str, **settings: Any) -> str:
    async with LocalSandbox(slots=1, **settings) as sandbox:
        execution = await sandbox.run(code, Limits())
    return execution.stdout or execution.stderr


@pytest.mark.parametrize("mode", [None, IsolationMode.BARE, IsolationMode.POSIX])
def test_programs_find_what_is_in_the_users_environment(
    python: str, mode: IsolationMode | None
) -> None:
    code = "import tiny_library, importlib.util\nprint(tiny_library.ANSWER)\n"
    code += "print(importlib.util.find_spec('pytest'))"
    assert asyncio.run(output(code, python=python, mode=mode)) == "42\nNone\n"


def test_preloaded_modules_are_there_before_the_program(python: str) -> None:
    code = "import sys\nprint('tiny_library' in sys.modules)"
    assert asyncio.run(output(code, python=python, preload=["tiny_library"])) == "True\n"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"python": "/no/such/python"}, "does not start"),
        ({"python": "/bin/false"}, "cannot run snippets"),
        ({"preload": ["no_such_module"]}, "No module named 'no_such_module'"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SandboxUnavailable, match=reason):
        asyncio.run(output("print(1)", **settings))


def test_a_preloaded_module_may_start_no_thread(python: str) -> None:
    with pytest.raises(SandboxUnavailable, match="starts_threads starts threads; leave it out"):
        asyncio.run(output("print(1)", python=python, preload=["starts_threads"]))


def test_services_have_an_environment_of_their_own() -> None:
    with pytest.raises(ValueError, match="tirgen sandbox serve --python"):
        SandboxSettings(services=("http://127.0.0.1:1",), python="/usr/bin/python3")


def test_doctor_says_which_libraries_programs_find_and_how_to_get_the_others(python: str) -> None:
    findings = asyncio.run(sandbox_findings(SandboxSettings(python=python)))
    [libraries] = [found for found in findings if found.check == "sandbox libraries"]
    assert libraries.found == f"none; missing: {', '.join(LIBRARIES)}"
    assert libraries.fix == f"{python} -m pip install {' '.join(LIBRARIES.values())}"


def test_the_extra_has_every_library_that_doctor_asks_for() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extra = project.partition("snippets = [")[2].partition("]")[0]
    brought = {"numpy", "sympy", "mpmath"}  # by tirgen itself
    wanted = {*LIBRARIES.values()} - brought
    assert not [name for name in wanted if f'"{name}>=' not in extra]
