"""`tirgen dataset gc`: old versions go, and nothing that anything needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage import documents, files, numbered
from storage.compaction import ORPHAN_SECONDS
from storage.datasets import Store
from storage.errors import Damaged, NotFound
from storage.lake import CatalogFileSystem
from storage.leases import LEASES, Claim, Lease
from storage.policies import LINEAGE, Policies
from storage.records import Trajectory
from storage.retention import fates, remove, remove_leftovers
from storage.sql import query

Make = Callable[..., Trajectory]


@pytest.fixture
def store(tmp_path: Path, make_trajectory: Make) -> Store:
    """demo@v1 to v5 of one run, whose rows are committed."""
    store = Store(tmp_path / "store")
    run = store.open_run("demo", {}, "c0ffee")
    for number in range(5):
        run.append([make_trajectory(f"p{number}")])
        run.publish(run.read(), {})
    return store


def stays(store: Store, **settings: Any) -> dict[str, str | None]:
    return {fate.version.version: fate.stays for fate in fates(store, **settings)}


def versions(store: Store) -> list[str]:
    return [version.version for version in store.versions("demo")]


def trained_on(store: Store, dataset: str) -> None:
    described = {"kind": "sft", "parent": "p", "dataset": dataset, "config_hash": "h"}
    Policies(store.root).publish("pi", lambda folder: None, described)


def test_only_what_nothing_needs_goes(store: Store) -> None:
    store.tag("demo@v1", "gold")
    trained_on(store, "demo@v2")
    assert stays(store) == {
        "v1": "tagged gold",
        "v2": "pi@v1 was trained on it",
        "v3": None,
        "v4": None,
        "v5": "the latest",
    }
    assert stays(store, keep=2)["v4"] == "one of the 2 newest"
    assert stays(store, days=1)["v3"] == "younger than 1 days"
    remove(store, fates(store))
    assert versions(store) == ["v1", "v2", "v5"]
    for reference in ("demo@v1", "demo@gold", "demo@v2", "demo"):
        assert list(store.version(reference).read())


def test_a_removed_version_leaves_its_run_and_its_lineage(
    store: Store, make_trajectory: Make
) -> None:
    run = store.open_run("demo", {}, "c0ffee")
    other = store.open_run("demo", {}, "decaf")
    other.publish([make_trajectory("q")], {})
    remove(store, fates(store))
    assert versions(store) == ["v6"]
    assert len(list(run.read())) == 5
    assert query(store, "SELECT count(*) AS n FROM running").to_pylist() == [{"n": 0}]
    assert query(store, "SELECT count(*) AS n FROM trajectories").to_pylist() == [{"n": 1}]
    with pytest.raises(NotFound, match="was removed by tirgen dataset gc"):
        store.version("demo@v3")
    run.publish(run.read(), {})
    assert versions(store) == ["v6", "v7"]


def test_an_evaluation_keeps_its_samples(store: Store, make_trajectory: Make) -> None:
    run = store.open_run("demo", {}, "evaluation")
    run.publish([make_trajectory("e")], {"results": []})
    run = store.open_run("demo", {}, "c0ffee")
    run.publish(run.read(), {})
    assert stays(store)["v6"] == "an evaluation has its figures from it"


def test_an_unfinished_training_keeps_its_data(store: Store) -> None:
    work = Policies(store.root).work("pi", "h")
    files.make_folder(work)
    files.write_atomic(work / LINEAGE, documents.dump({"dataset": "demo@v2"}))
    assert stays(store)["v2"] == "a training of pi is not finished"
    trained_on(store, "demo@v3")  # the same training, published
    assert (stays(store)["v2"], stays(store)["v3"]) == (None, "pi@v1 was trained on it")


def test_a_policy_that_cannot_be_read_ends_it(store: Store) -> None:
    trained_on(store, "demo@v2")
    manifest = Policies(store.root).version("pi").path / numbered.MANIFEST
    manifest.write_text(manifest.read_text().replace("demo@v2", "demo@v3"))
    with pytest.raises(Damaged):
        fates(store)


def test_a_damaged_version_stays(store: Store) -> None:
    store.version("demo@v2").files[0].write_bytes(b"")
    assert str(stays(store)["v2"]).startswith("damaged: part-00000.parquet")


def test_a_job_at_work_keeps_the_versions_of_its_run(store: Store) -> None:
    run = store.open_run("demo", {}, "c0ffee")
    lease = Claim(run.folder / LEASES, "whole").attempt()
    assert isinstance(lease, Lease)
    assert "works on its run" in str(stays(store)["v1"])
    lease.release()
    assert stays(store)["v1"] is None


USER = """
import sys
from pathlib import Path
from storage.datasets import Store
version = Store(Path(sys.argv[1])).version("demo@v2")
print("holds", flush=True)
sys.stdin.read()
assert sum(1 for _ in version.read()) == 2
"""


@contextmanager
def a_process_that_uses_v2(store: Store) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", USER, str(store.root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process


def tirgen(store: Store, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "flows", *arguments, "--store", str(store.root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_process_keeps_what_it_uses_until_it_ends(store: Store) -> None:
    gc = ("dataset", "gc", "demo", "--keep", "1", "--days", "0")
    with a_process_that_uses_v2(store) as process:
        found = tirgen(store, *gc, "--dry-run")["versions"]
        assert [row["version"] for row in found if row["removed"]] == [
            "demo@v1", "demo@v3", "demo@v4",
        ]  # fmt: skip
        assert versions(store) == ["v1", "v2", "v3", "v4", "v5"]
        found = tirgen(store, *gc)["versions"]
        assert {row["stays because"] for row in found if not row["removed"]} == {
            "a process uses it", "the latest",
        }  # fmt: skip
        assert versions(store) == ["v2", "v5"]
        process.communicate("")
        assert process.returncode == 0
    with a_process_that_uses_v2(store) as process:
        process.send_signal(signal.SIGKILL)
    tirgen(store, *gc)
    assert versions(store) == ["v5"]


def test_a_version_used_since_it_was_listed_stays(store: Store) -> None:
    listed = fates(store)
    store.tag("demo@v1", "late")
    held = store.version("demo@v2")
    done = {fate.version.version: fate.stays for fate in remove(store, listed)}
    assert (done["v1"], done["v2"], done["v3"]) == ("tagged late", "a process uses it", None)
    assert held.files[0].exists()


def test_no_reader_gets_half_a_version(store: Store) -> None:
    """Readers in threads name versions while these are removed: all rows, or not found."""
    wrong: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            for number in range(1, 5):
                try:
                    version = store.version(f"demo@v{number}")
                except (NotFound, Damaged):
                    continue
                if len(list(version.read())) != number:
                    wrong.append(str(version))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        remove(store, fates(store))
    ended.set()
    for thread in threads:
        thread.join()
    remove(store, fates(store))
    assert (wrong, versions(store)) == ([], ["v5"])


def test_a_query_during_a_removal_is_answered_from_what_is_left(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = CatalogFileSystem._open, 0

    def removing(lake: CatalogFileSystem, path: str, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            remove(store, fates(store))
        return real(lake, path, **options)

    monkeypatch.setattr(CatalogFileSystem, "_open", removing)
    sql = "SELECT version, count(problem_id) AS n FROM all_trajectories GROUP BY ALL ORDER BY ALL"
    assert query(store, sql).to_pylist() == [{"version": "v5", "n": 5}]


@pytest.mark.parametrize("step", range(4))
def test_a_removal_killed_at_any_step_is_done_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    calls = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step + 1:
                raise KeyboardInterrupt
            return real(*arguments)

        return call

    with monkeypatch.context() as patched:
        for name in ("make_folder", "place_new_folder", "remove_folder"):
            patched.setattr(files, name, dying(getattr(files, name)))
        with pytest.raises(KeyboardInterrupt):
            remove(store, fates(store))
    for name in versions(store):
        assert len(list(store.version(f"demo@{name}").read())) == int(name[1:])
    remove(store, fates(store))
    assert versions(store) == ["v5"]
    assert query(store, "SELECT count(*) AS n FROM running").to_pylist() == [{"n": 0}]


def test_leftovers_go_by_age(store: Store) -> None:
    folder = store.dataset_folder("demo")
    old = [
        store.root / ".tirgen.duckdb.aa.tmp",
        folder / ".latest.aa.tmp",
        folder / "versions/.v9.aa.tmp/",
        folder / "runs/c0ffee/.sorting.aa.tmp/",
        folder / "tags/.gold.aa.tmp",
    ]
    for path in (*old, folder / "versions/.version.bb.tmp/"):
        (path / "x").mkdir(parents=True)
    for path in old:
        before = path.stat().st_mtime - ORPHAN_SECONDS - 60
        os.utime(path, (before, before))
    assert sorted(remove_leftovers(store)) == sorted(old)
    assert [path.name for path in store.root.rglob("*.tmp")] == [".version.bb.tmp"]
    assert versions(store) == ["v1", "v2", "v3", "v4", "v5"]
