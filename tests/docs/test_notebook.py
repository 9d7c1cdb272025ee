"""The notebook runs over a small store, as a script and as an app, with the figures of SQL."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.records import BASELINE_RULE, FilterVerdict, Program
from tests.rows import row

NOTEBOOK = Path(__file__).parents[2] / "examples" / "explore.py"

pytest.importorskip("marimo", reason="pip install marimo")


def run_as_script(store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(NOTEBOOK), "--store", str(store)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three rows with tools, of which the last is wrong, and a wrong one without."""
    store = Store(tmp_path_factory.mktemp("notebook") / "store")
    made = [row(f"p{number}", kept=number < 3) for number in (1, 2, 3)]
    made[0] = replace(made[0], problem=replace(made[0].problem, difficulty="$\\frac{1}{2$ <b>"))
    baseline = FilterVerdict(rule=BASELINE_RULE, kept=False)
    made.append(replace(row("p1", program=Program.COT), filters=(baseline,)))
    store.open_run("d", {}, "h").publish(made, {})
    return store


def test_every_cell_runs_as_a_script(store: Store) -> None:
    done = run_as_script(store.root)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_without_a_dataset_is_told(tmp_path: Path) -> None:
    done = run_as_script(tmp_path)
    assert done.returncode == 1
    assert f"no dataset in {tmp_path}" in done.stderr


def test_figures_and_the_trajectory_are_those_of_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["explore.py", "--store", str(store.root)])
    spec = importlib.util.spec_from_file_location("explore", NOTEBOOK)
    assert spec
    assert spec.loader
    notebook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebook)
    _, made = notebook.app.run()
    assert made["funnel"] == [{"rule": "correct", "dropped": 1, "kept": 2}]
    judged = {(one["tools"], one["difficulty"]): one["judged"] for one in made["accuracy"]}
    assert judged == {
        ("with tools", "$\\frac{1}{2$ <b>"): 1,
        ("with tools", "none given"): 2,
        ("without tools", "none given"): 1,
    }
    assert made["chosen"].value in made["page"]
    assert "p1?" in made["page"] or "p2?" in made["page"]
