"""Figures of a training reach each real library, on this machine only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from flows.cli import run
from flows.terminal.failures import ExtraMissing
from flows.training import metrics
from flows.training.metrics import METRICS, MetricsLibrary, metrics_library, metrics_run

TWO_CALLS = """
from flows.training.metrics import metrics_run
for steps in ([1, 2], [3]):
    with metrics_run("pupil/abc", {"kind": "rl"}) as log:
        for step in steps:
            figures = {"event": "step", "step": step, "loss": 1 / step, "none": None}
            log(figures | {"levels": {"step": {"kl": 0.5}}, "gap": float("nan")}, step)
"""
READ = {
    MetricsLibrary.TRACKIO: """
from trackio.sqlite_storage import SQLiteStorage
[name] = SQLiteStorage.get_runs("tirgen")
rows = SQLiteStorage.get_logs("tirgen", name)
print(name, [(row["step"], row["loss"], row["levels/step/kl"], "gap" in row) for row in rows])
""",
    MetricsLibrary.MLFLOW: """
import mlflow
[found] = mlflow.search_runs(experiment_names=["tirgen"], output_format="list")
history = mlflow.MlflowClient().get_metric_history
loss, kl = (history(found.info.run_id, name) for name in ("loss", "levels/step/kl"))
rows = [(a.step, a.value, b.value, "gap" in found.data.metrics) for a, b in zip(loss, kl)]
print(found.info.run_name, rows)
""",
}
"""How each library itself reads what was written; wandb reads only what it has uploaded."""


def python(code: str, library: MetricsLibrary, folder: Path) -> str:
    own = {
        METRICS: library.value,
        "TRACKIO_DIR": str(folder / "trackio"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "WANDB_DIR": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | own | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("library", MetricsLibrary)
def test_steps_of_two_calls_are_one_run(library: MetricsLibrary, tmp_path: Path) -> None:
    if find_spec(library.value) is None:
        pytest.skip(f"pip install {library.value}")
    assert python(TWO_CALLS, library, tmp_path) == "", "stdout is for results"
    if library in READ:
        expected = [(step, 1 / step, 0.5, False) for step in (1, 2, 3)]
        assert python(READ[library], library, tmp_path) == f"pupil/abc {expected}\n"
    else:
        written = [*tmp_path.glob("wandb/offline-run-*/run-pupil-abc.wandb")]
        assert len(written) == 2, "one file for each call, which wandb joins by their id"
        assert all(b"levels/step/kl" in path.read_bytes() for path in written)


def test_nothing_is_recorded_without_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(METRICS, raising=False)
    assert metrics_library() is None
    with metrics_run("pupil/abc", {}) as log:
        log({"loss": 1.0}, 1)


def test_an_unknown_library_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(METRICS, "tensorboard")
    with pytest.raises(ExtraMissing, match="one of trackio, mlflow, wandb"):
        metrics_library()


def test_a_missing_library_ends_the_command_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv(METRICS, "mlflow")
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    assert run(["policy", "rl", "", "--store", str(tmp_path / "store")]) == 4
    assert "pip install mlflow" in capsys.readouterr().err
    assert not [*tmp_path.rglob("*.parquet")]


def test_a_round_of_rl_reaches_the_library(tmp_path: Path, sandbox_url: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("trackio", reason="pip install trackio")
    settings = (
        *("rounds=1", "rollouts.problems.limit=16", "rollouts.groups=null", "rollouts.samples=6"),
        *("rollouts.branches=null", "update.updates=2"),
        f'rollouts.sandbox.services=["{sandbox_url}"]',
    )
    command = ["policy", "rl", "", "--policy", "pi", "--store", "store", "--json"]
    for setting in settings:
        command += ["--set", setting]
    code = f"from flows.cli import run; import sys; sys.exit(run({command!r}))"
    [made] = json.loads(python(code, MetricsLibrary.TRACKIO, tmp_path))["rounds"]
    read = """
import json
from trackio.sqlite_storage import SQLiteStorage
names = SQLiteStorage.get_runs("tirgen")
print(json.dumps({name: SQLiteStorage.get_logs("tirgen", name) for name in names}))
"""
    runs = json.loads(python(read, MetricsLibrary.TRACKIO, tmp_path))
    [a_round] = runs.pop("pi/rounds")
    assert a_round["step"] == 1
    assert {name: a_round[name] for name in ("reward", "kl", "tokens")} == {
        name: pytest.approx(made[name]) for name in ("reward", "kl", "tokens")
    }
    [steps] = runs.values()
    assert [step["step"] for step in steps] == [1, 2]
    assert all("levels/trajectory/entropy" in step for step in steps)
