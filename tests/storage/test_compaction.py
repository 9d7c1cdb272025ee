"""Compaction while a run goes on: the same rows for every reader, and the files of the past go."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from storage import compaction
from storage.commits import LOG, read_log
from storage.compaction import FAN_IN, Compactor
from storage.datasets import Store
from storage.records import Trajectory
from storage.runs import Run
from storage.sql import query
from storage.views import FILE, refresh
from tests.rows import row

RUNNING = "SELECT * FROM running ORDER BY dataset, trajectory_id"


def files_of(run: Run) -> list[str]:
    return [commit.file.name for commit in read_log(run.folder / LOG).commits]


def seen(store: Store) -> tuple[object, ...]:
    """What readers find: by SQL, by any DuckDB client, and as records."""
    refresh(store.root)
    with duckdb.connect(store.root / FILE, read_only=True) as client:
        other = client.sql(RUNNING).to_arrow_table().to_pylist()
    run = store.find_run("d", "c0ffee")
    assert run is not None
    costs = run.every_row(["trajectory_id", "created_at"]).to_pylist()
    return query(store, RUNNING).to_pylist(), other, list(run.read()), costs


def appended(run: Run, batches: int, random_: random.Random, made: float) -> float:
    """Batches of random size from few problems, so that many rows were made again."""
    for _ in range(batches):
        rows = []
        for problem in random_.sample(range(40), random_.randint(1, 4)):
            made += 1
            rows.append(row(f"p{problem}", kept=random_.random() < 0.5, created_at=made))
        run.append(rows)
    return made


@pytest.mark.parametrize("seed", range(2))
def test_rows_are_the_same_before_and_after(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    store = Store(tmp_path)
    run = store.open_run("d", {}, "c0ffee")
    made = 0.0
    for _ in range(3):
        made = appended(run, random_.randint(5, 40), random_, made)
        before = seen(store)
        Compactor(run.folder, fan_in=4).compact()
        assert seen(store) == before
        if random_.random() < 0.5:
            run.publish(run.read(), {"problems": 1})
            made = appended(run, random_.randint(1, 3), random_, made)
            run.publish(run.read(), {"problems": 1})
    assert len(files_of(run)) < 20


@pytest.mark.parametrize("covered", [0, 2, 4, 7])
def test_a_merge_over_the_end_of_a_version_shows_only_what_came_after_it(
    tmp_path: Path, covered: int
) -> None:
    store = Store(tmp_path)
    run = store.open_run("d", {}, "c0ffee")
    for number in range(covered):
        run.append([row(f"p{number}"), row(f"q{number}")])
    run.publish(run.read(), {"problems": 1})
    for number in range(covered, 9):
        run.append([row(f"p{number}"), row(f"q{number}")])
    before = query(store, RUNNING).to_pylist()
    assert len(before) == 2 * (9 - covered)
    assert Compactor(run.folder, fan_in=4).compact() == 2
    assert query(store, RUNNING).to_pylist() == before


def test_a_reader_goes_on_with_what_it_began(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("d", {}, "c0ffee")
    appended(run, FAN_IN, random.Random(0), 0.0)
    reader = run.reader()
    first = list(reader())
    Compactor(run.folder).compact()
    assert len(files_of(run)) == 1
    assert list(reader()) == first == list(run.read())


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_merged_files_orphans_and_temporaries_go_by_age(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("d", {}, "c0ffee")
    appended(run, FAN_IN, random.Random(0), 0.0)
    run._compactor.wait()
    batches = run.folder / "batches"
    orphans = [batches / f"{'a' * 24}.parquet", batches / f".x.parquet.{'b' * 32}.tmp"]
    for orphan in orphans:
        orphan.touch()
        age(orphan, compaction.ORPHAN_SECONDS - 60)
    compactor = Compactor(run.folder)
    compactor.compact()
    [merged] = files_of(run)
    assert len(list(batches.glob("*.parquet"))) == FAN_IN + 3  # merged, empty.parquet, orphan
    for path in (batches / merged, *orphans):
        age(path, compaction.ORPHAN_SECONDS + 60)
    rows = list(run.read())
    compactor.compact()
    left = {path.name for path in batches.iterdir()}
    assert left == {merged, "empty.parquet"}
    assert list(run.read()) == rows


def test_a_run_is_compacted_as_it_is_appended_to(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("d", {}, "c0ffee")
    appended(run, 3 * FAN_IN, random.Random(0), 0.0)
    run._compactor.wait()
    assert len(files_of(run)) < 2 * FAN_IN


KILLED = """
import sys
from pathlib import Path
from storage.compaction import Compactor
while True:
    Compactor(Path(sys.argv[1]), fan_in=4).compact()
"""


def test_killed_compactors_lose_and_double_nothing(tmp_path: Path) -> None:
    store, random_ = Store(tmp_path), random.Random(0)
    run = store.open_run("d", {}, "c0ffee")
    expected: dict[str, Trajectory] = {}
    count = 0
    for _ in range(12):
        arguments = [sys.executable, "-c", KILLED, str(run.folder)]
        with subprocess.Popen(arguments, cwd=Path(__file__).parents[2]) as process:
            for _ in range(20):
                made = [replace(row(f"p{count}"), created_at=float(count))]
                run.append(made)
                expected[made[0].trajectory_id] = made[0]
                count += 1
            time.sleep(random_.uniform(0, 2))
            process.send_signal(signal.SIGKILL)
        found = list(run.read())
        assert {one.trajectory_id: one for one in found} == expected
        assert len(found) == len(expected)
        assert len(run.every_row(["trajectory_id"])) == count
    assert len(files_of(run)) < count
