"""The commands that train and evaluate, as a user runs them: one small turn of the whole wheel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.datasets import Store
from storage.policies import Policies

pytest.importorskip("torch")

SMALL = (
    *("rl.rollouts.groups=3", "rl.rollouts.samples=4", "rl.rollouts.branches.samples=2"),
    *("rl.update.updates=2", "evaluation.samples=2", "evaluation.analysis.pass_at=[1,2]"),
    *("evaluation.analysis.best_of=2", 'evaluation.benchmarks=[{"path":"pocket:test","limit":10}]'),
)


def tirgen(store: Path, *arguments: str) -> Any:
    """The JSON document that a command prints."""
    command = [sys.executable, "-m", "flows", *arguments, "--store", str(store), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def improve(store: Path, sandbox: str) -> Any:
    parts = ("generate", "rl.rollouts", "evaluation")
    shared = [f'{part}.sandbox.services=["{sandbox}"]' for part in parts]
    settings = [part for setting in (*SMALL, *shared) for part in ("--set", setting)]
    return tirgen(store, "improve", "--policy", "pi", "--limit", "40", "--rounds", "1", *settings)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, sandbox_url: str) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    improve(folder, sandbox_url)
    return folder


@pytest.mark.slow
def test_every_stage_is_evaluated_and_drawn(store: Path) -> None:
    report = store / "reports" / "pi"
    document = json.loads((report / "improvement.json").read_text())
    names = ["base, chain of thought", "fine-tuned", "after RL", "self-correcting"]
    assert [stage["stage"] for stage in document["stages"]] == names
    assert [stage["policy"] for stage in document["stages"]] == [None, "pi@v1", "pi@v2", "pi@v2"]
    for plot in ("stages.svg", "rounds.svg"):
        assert (report / plot).read_text().startswith("<?xml")


def test_another_turn_finds_everything_and_makes_nothing(store: Path, sandbox_url: str) -> None:
    before = sorted(str(path) for path in store.rglob("*.parquet"))
    assert improve(store, sandbox_url)["policy"] == "pi@v2"
    assert sorted(str(path) for path in store.rglob("*.parquet")) == before
    assert [str(version) for version in Policies(store).all()] == ["pi@v1", "pi@v2"]


def test_lineage_is_listed_and_in_sql(store: Path) -> None:
    listed = tirgen(store, "policy", "list")
    assert [row["policy"] for row in listed] == ["pi@v1", "pi@v2"]
    assert listed[1]["parent"] == "pi@v1"
    [row] = tirgen(
        store,
        "sql",
        "select p.kind, d.kept_rows from policies p "
        "join datasets d on p.trained_on = d.dataset || '@' || d.version where p.version = 'v1'",
    )
    assert row["kind"] == "sft"
    assert row["kept_rows"] > 0


def test_a_round_shows_its_rollouts_and_its_update(store: Path) -> None:
    [figures] = tirgen(store, "policy", "show", "pi")["rounds"]
    assert figures["policy"] == "pi@v2"
    assert 0 < figures["reward"] < 1
    assert 0 < figures["execution_pass"] <= 1
    assert figures["entropy"] > 0
    assert figures["sampler_gap"] < 1e-3


def test_an_evaluation_is_a_row_for_each_figure(store: Path) -> None:
    rows = tirgen(
        store, "sql", "select policy, figure, value, low, high from evaluations order by version"
    )
    figures = {row["figure"] for row in rows}
    assert {"accuracy", "pass_at_2", "majority_at_2", "best_of", "code_ratio"} <= figures
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert {row["policy"] for row in rows} == {None, "pi@v1", "pi@v2"}


@pytest.mark.slow
def test_a_fine_tuning_draws_its_held_out_curve(store: Path, tmp_path: Path) -> None:
    [version] = [str(v) for v in Store(store).datasets() if v.dataset == "pi-tir"]
    made = tirgen(
        store,
        *("policy", "sft", version, "--policy", "curve", "--plot", str(tmp_path / "curve.svg")),
        *("--heldout", "pocket:test", "--heldout-limit", "6", "--snapshot-every", "1"),
        *("--set", "batch_samples=64", "--set", "epochs=3"),
    )
    steps = [point["step"] for point in made["curve"]]
    assert steps == list(range(steps[-1] + 1))
    assert len(steps) > 2
    assert (tmp_path / "curve.svg").exists()
    assert {1} == {int(k) for point in made["curve"] for k in point["results"][0]["pass_at"]}


def test_evaluating_by_name_asks_the_policy_of_that_name(store: Path) -> None:
    made = tirgen(store, "eval", "pi@v1", "--limit", "4", "--samples", "1", "--seed", "7")
    version = Store(store).version(made["version"])
    assert {row.provenance.policy_version for row in version.read()} == {"pi@v1"}
    assert made["results"][0]["problems"] == 4


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows", "eval", "nobody", "--store", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "nobody" in done.stderr
