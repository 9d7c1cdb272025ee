"""Damage costs the dataset that it is in, is told with what to do, and gives no wrong answer."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import run
from flows.terminal.failures import NOT_FOUND, WORK_FAILED
from storage import damage
from storage.commits import read_log
from storage.datasets import Store
from storage.errors import Damaged
from storage.policies import Policies
from storage.sql import query
from storage.views import refresh
from tests.rows import row

ANSWERS = "SELECT dataset, count(*) AS n FROM all_trajectories GROUP BY 1 ORDER BY 1"


def make(root: Path) -> Store:
    """Datasets `good` and `bad`, two versions each; `bad` has a run that is not published too."""
    store = Store(root)
    for name in ("good", "bad"):
        for config in ("one", "two"):
            made = [replace(row(f"{config}{n}", kept=n > 1), dataset=name) for n in range(4)]
            opened = store.open_run(name, {}, config)
            opened.append(made[:2])
            opened.append(made[2:])
            opened.publish(opened.read(), {"problems": 4})
    store.open_run("bad", {}, "three").append([replace(row("open"), dataset="bad")])
    return store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "store").root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Iterator[Store]:
    """One of its own to damage."""
    damage._warned.clear()
    yield Store(shutil.copytree(made, tmp_path / "store", symlinks=True))
    damage._warned.clear()


def version(store: Store, number: int) -> Path:
    return store.root / "datasets" / "bad" / "versions" / f"v{number}"


def without(key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest[key]
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return change


def changed(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, key: value}))

    return change


def cut(folder: Path) -> None:
    part = folder / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-100])


def replaced_by_a_file(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("junk")


def made_a_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no part": lambda folder: (folder / "part-00000.parquet").unlink(),
    "cut part": cut,
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "manifest is a folder": made_a_folder,
    "half a manifest": lambda folder: (folder / "manifest.json").write_text('{"rows": 4'),
    "a list": lambda folder: (folder / "manifest.json").write_text("[]"),
    "not text": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe{}"),
    "another count": changed("rows", 5),
    "a name that leads out": changed("files", [{"file": "../../../../x"}]),
    "a file": replaced_by_a_file,
    **{
        f"without {key}": without(key)
        for key in ("files", "rows", "kept_rows", "run_id", "config_hash", "created_at", "summary")
    },
}


@pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_version_costs_itself_alone_and_is_told_once(
    store: Store, damaged: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    damaged(version(store, 1))
    for _ in range(2):
        assert query(store, ANSWERS).to_pylist() == [
            {"dataset": "bad", "n": 4},
            {"dataset": "good", "n": 8},
        ]
    assert query(store, "SELECT count(*) AS n FROM datasets").to_pylist() == [{"n": 3}]
    [told] = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert "left out bad@v1" in told
    assert told.endswith("tirgen dataset check bad@v1")
    refresh(store.root)
    assert [str(one) for one in store.versions("bad")] == ["bad@v2"]
    with pytest.raises(Damaged, match="dataset check bad@v1"):
        store.version("bad@v1")


@pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES.keys())
def test_no_older_version_stands_in_for_a_damaged_one(
    store: Store, damaged: Callable[[Path], object]
) -> None:
    damaged(version(store, 2))
    latest = "SELECT DISTINCT dataset FROM trajectories"
    assert query(store, latest).to_pylist() == [{"dataset": "good"}]
    assert [one.name for one in store.datasets()] == ["good"]
    with pytest.raises(Damaged, match="bad@v2"):
        store.version("bad")
    with pytest.raises(Damaged, match="bad@v2"):
        query(store, "SELECT count(*) FROM trajectories WHERE dataset = 'bad'")
    assert str(store.open_run("bad", {}, "two").publish([row()], {})) == "bad@v3"


COMMANDS = [
    ["sql", "select count(*) from trajectories"],
    ["sql", "from yields"],
    ["traj", "list"],
    ["dataset", "list"],
    ["dataset", "show", "good"],
    ["dataset", "check", "good"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", ["no part", "without files", "a file"])
def test_every_command_goes_on_beside_damage(
    store: Store, command: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[name](version(store, 2))
    (store.root / "datasets" / "junk.txt").write_text("junk")
    (store.root / "datasets" / "bad" / "runs" / "junk").write_text("junk")
    (store.root / "datasets" / "bad" / "runs" / "two" / "batches" / "junk.parquet").write_text("x")
    assert run([*command, "--store", str(store.root)]) == 0


NAMING = [
    ["sql", "select count(*) from trajectories where dataset = 'bad'"],
    ["traj", "list", "bad@v2"],
    ["dataset", "show", "bad"],
    ["dataset", "export", "bad", "/dev/null"],
    ["dataset", "check", "bad"],
    ["dataset", "check"],
]


@pytest.mark.parametrize("command", NAMING, ids=" ".join)
def test_what_names_the_damaged_dataset_fails_with_what_to_do(
    store: Store, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES["no part"](version(store, 2))
    assert run([*command, "--store", str(store.root)]) == WORK_FAILED
    assert "part-00000.parquet is missing" in capsys.readouterr().err
    assert run(["dataset", "check", "bad@v9", "--store", str(store.root)]) == NOT_FOUND


def test_a_damaged_run_costs_its_own_rows(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    batches = store.root / "datasets" / "bad" / "runs" / "three" / "batches"
    [batch] = [one for one in batches.glob("*.parquet") if one.name != "empty.parquet"]
    batch.unlink()
    good = store.open_run("good", {}, "three")
    good.append([replace(row("open"), dataset="good")])
    running = "SELECT dataset FROM running"
    assert query(store, running).to_pylist() == [{"dataset": "good"}]
    with pytest.raises(Damaged, match="dataset check bad"):
        query(store, f"{running} WHERE dataset = 'bad'")
    with pytest.raises(Damaged):
        list(store.open_run("bad", {}, "three").read())
    assert run(["dataset", "check", "bad", "--store", str(store.root)]) == WORK_FAILED
    assert f"{batch} is missing" in capsys.readouterr().err


def test_a_line_of_a_log_that_is_cut_is_noticed(
    store: Store, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    log = store.root / "datasets" / "bad" / "runs" / "three" / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    assert list(store.open_run("bad", {}, "three").read()) == []
    assert "is cut short" in caplog.text
    assert run(["dataset", "check", "bad", "--store", str(store.root)]) == WORK_FAILED
    assert "is cut short in line 2" in capsys.readouterr().err


def test_a_line_of_a_log_that_was_changed_is_no_fragment_of_a_killed_writer(store: Store) -> None:
    log = store.root / "datasets" / "bad" / "runs" / "three" / "log.jsonl"
    written = log.read_bytes()
    for place in range(1, len(written) - 1):
        log.write_bytes(written[:place] + b"~" + written[place + 1 :])
        found = read_log(log)
        assert not found.cut
        assert found.damaged or found.commits
    for place in range(2, len(written) - 2):
        log.write_bytes(written[:place])
        assert read_log(log).damaged == []


def test_a_damaged_policy_costs_itself_alone(store: Store, tmp_path: Path) -> None:
    policies = Policies(store.root)
    for name in ("a", "b"):
        policies.publish(name, lambda to: _weights(to), {"config_hash": "h"})
    (store.root / "policies" / "a" / "versions" / "v1" / "manifest.json").write_text("{}")
    assert query(store, "SELECT policy FROM policies").to_pylist() == [{"policy": "b"}]
    assert [str(one) for one in policies.all()] == ["b@v1"]
    with pytest.raises(Damaged, match="policy check a@v1"):
        policies.version("a")


def _weights(folder: Path) -> None:
    (folder / "model.safetensors").write_text("weights")
