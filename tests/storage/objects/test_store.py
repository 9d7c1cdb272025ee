"""A store in a bucket, through the same interface as one on a disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.cli import run
from flows.terminal.failures import WORK_FAILED
from storage import places
from storage.commits import LOG, read_commits
from storage.compaction import Compactor
from storage.datasets import Store
from storage.errors import Damaged, NoBucket, Unreachable
from storage.leases import Claim, Holder, Lease, LeaseLost
from storage.records import Trajectory, Verdicts
from storage.retention import fates, remove
from storage.sql import query
from tests.storage.objects.wire import Wire

if TYPE_CHECKING:
    from tests.storage.objects.conftest import S3

Make = Callable[..., Trajectory]
HOST = Path(__file__).with_name("host.py")


@pytest.fixture
def address(s3: S3) -> str:
    return f"s3://{s3.new_bucket()}/stores/demo"


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """From then on this process is like one on another machine: its mirror is empty."""
    count = iter(range(100))

    def to_another_machine() -> None:
        monkeypatch.setenv(places.VARIABLE, str(tmp_path / f"machine-{next(count)}"))
        places.mirrors.cache_clear()

    return to_another_machine


@pytest.fixture
def wire(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The connection to the server, made new for each test."""
    wire = Wire(s3.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.url)
    yield wire
    wire.close()


def host(address: str, name: str, rows: int, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, places.VARIABLE: str(folder / name), "PYTHONPATH": "."}
    command = [sys.executable, str(HOST), address, name, str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_another_machine_reads_what_was_committed_and_published(
    address: str, make_trajectory: Make, move: Callable[[], None], s3: S3
) -> None:
    run = Store(Path(address)).open_run("demo", {"k": 1}, "c0ffee")
    before = len(s3.requests())
    run.append([make_trajectory("p1"), make_trajectory("p2")])
    assert Counter(line.split()[0] for line in s3.requests()[before:]) == {"PUT": 2}
    move()
    store = Store(Path(address))
    assert query(store, "SELECT count(correct) AS n FROM running").to_pylist() == [{"n": 2}]
    found = store.find_run("demo", "c0ffee")
    assert found is not None
    assert list(found.read()) == [make_trajectory("p1"), make_trajectory("p2")]
    version = found.publish(found.read(), {})
    store.tag("demo", "gold")
    move()
    store = Store(Path(address))
    totals = "SELECT version, count(correct) AS n FROM trajectories GROUP BY ALL"
    assert query(store, totals).to_pylist() == [{"version": "v1", "n": 2}]
    assert list(store.version("demo@gold").read()) == list(version.read())
    assert query(store, "SELECT count(*) AS n FROM running").to_pylist() == [{"n": 0}]
    assert query(store, "SELECT path FROM datasets").to_pylist() == [
        {"path": f"{address}/datasets/demo/versions/v1"}
    ]
    store.untag("demo", "gold")
    move()
    assert query(Store(Path(address)), "SELECT count(*) AS n FROM tags").to_pylist() == [{"n": 0}]


def test_two_hosts_append_and_publish_and_one_is_killed(
    address: str, tmp_path: Path, move: Callable[[], None]
) -> None:
    """What was acknowledged is there once; of two publishers at once each gets its own number."""
    hosts = [host(address, name, 6, tmp_path) for name in ("a", "b", "killed")]
    last = hosts[-1]
    assert last.stdout is not None
    for _ in range(3):
        last.stdout.readline()
    last.send_signal(signal.SIGKILL)
    told = [process.communicate()[0].split() for process in hosts[:2]]
    last.communicate()
    acknowledged = [line for lines in told for line in lines if line not in ("open", lines[-1])]
    move()
    store = Store(Path(address))
    run = store.find_run("demo", "c0ffee")
    assert run is not None
    committed = Counter(row.trajectory_id for row in run.read())
    assert set(acknowledged) <= set(committed)
    assert set(committed.values()) == {1}
    assert sorted(lines[-1] for lines in told) == ["demo@v1", "demo@v2"]
    assert list(map(str, store.versions("demo"))) == ["demo@v1", "demo@v2"]


def test_a_commit_whose_answers_are_lost_is_done_once(
    address: str, make_trajectory: Make, wire: Wire
) -> None:
    run = Store(Path(address)).open_run("demo", {}, "c0ffee")
    wire.loses = "/log/"
    run.append([make_trajectory("p1")])
    assert wire.loses is None
    wire.loses = "/batches/"
    run.append([make_trajectory("p2")])
    assert wire.loses is None
    assert [row.problem.problem_id for row in run.read()] == ["p1", "p2"]
    assert run.every_row(["trajectory_id"]).num_rows == 2


def test_a_cut_network_stops_a_commit_and_loses_nothing(
    address: str, make_trajectory: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIRGEN_BUCKET_PATIENCE", "0.5")
    run = Store(Path(address)).open_run("demo", {}, "c0ffee")
    run.append([make_trajectory("p1")])
    wire.cut()
    with pytest.raises(Unreachable, match="cannot be reached"):
        run.append([make_trajectory("p2")])
    wire.mend()
    run.append([make_trajectory("p3")])
    assert [row.problem.problem_id for row in run.read()] == ["p1", "p3"]


def test_a_lease_has_one_holder_and_a_replaced_one_is_told(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.leases.BEAT_SECONDS", 0.1)
    monkeypatch.setattr("storage.leases._machine", lambda: "")  # as seen from another machine
    monkeypatch.setattr("storage.leases.SILENCE_SECONDS", 1e9)
    folder = Store(Path(address)).root / "datasets" / "demo" / "leases"
    first = Claim(folder, "whole").attempt()
    assert isinstance(first, Lease)
    claim = Claim(folder, "whole")
    assert isinstance(claim.attempt(), Holder)
    monkeypatch.setattr("storage.leases.SILENCE_SECONDS", -1.0)
    second = claim.attempt()
    assert isinstance(second, Lease)
    with pytest.raises(LeaseLost):
        first.check()
    first.release()
    second.check()
    second.release()
    third = Claim(folder, "whole").attempt()
    assert isinstance(third, Lease)
    third.release()


def test_other_verdicts_share_the_rows_and_removed_versions_free_theirs(
    address: str, make_trajectory: Make, move: Callable[[], None], s3: S3
) -> None:
    store = Store(Path(address))
    run = store.open_run("demo", {}, "c0ffee")
    first = run.publish([make_trajectory("p1"), make_trajectory("p2")], {})
    found = [Verdicts.of(row) for row in first.read()]
    before = len(s3.requests())
    store.derive(first, found, lambda: {**first.manifest, "summary": {}})
    content = [line for line in s3.requests()[before:] if "/files/" in line and "PUT" in line]
    assert len(content) == 1, "only the verdicts are written"
    done = remove(store, fates(store, "demo"))
    assert [(str(fate.version), fate.stays) for fate in done] == [
        ("demo@v1", None),
        ("demo@v2", "the latest"),
    ]
    move()
    store = Store(Path(address))
    assert list(map(str, store.versions("demo"))) == ["demo@v2"]
    assert [row.problem.problem_id for row in store.version("demo").read()] == ["p1", "p2"]


def test_changed_objects_are_noticed(
    address: str, make_trajectory: Make, move: Callable[[], None], s3: S3
) -> None:
    run = Store(Path(address)).open_run("demo", {}, "c0ffee")
    run.append([make_trajectory()])
    run.publish(run.read(), {})
    bucket = address.split("/")[2]
    client = s3.client()
    for one in client.list_objects_v2(Bucket=bucket)["Contents"]:
        if "/files/" in one["Key"] or "/batches/" in one["Key"]:
            content = bytearray(client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read())
            content[len(content) // 2] ^= 1
            client.put_object(Bucket=bucket, Key=one["Key"], Body=bytes(content))
    move()
    store = Store(Path(address))
    with pytest.raises(Damaged, match="is not what was written"):
        list(store.version("demo").read())
    found = store.find_run("demo", "c0ffee")
    assert found is not None
    with pytest.raises(Damaged, match="is not what was written"):
        list(found.read())
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]]
    [line] = [key for key in keys if "/log/" in key]
    client.delete_object(Bucket=bucket, Key=line)
    client.put_object(Bucket=bucket, Key=line.replace("000001", "000002"), Body=b"{}")
    move()
    found = Store(Path(address)).find_run("demo", "c0ffee")
    assert found is not None
    with pytest.raises(Damaged, match="lacks line 1"):
        list(found.read())


def test_merged_files_of_a_run_are_read_by_every_machine(
    address: str, make_trajectory: Make, move: Callable[[], None]
) -> None:
    """By one that reads while the files are merged, and by one that comes later."""
    made = Store(Path(address)).open_run("demo", {}, "c0ffee")
    wanted = [make_trajectory(f"p{number}") for number in range(9)]
    for one in wanted:
        made.append([one])
    move()
    run = Store(Path(address)).find_run("demo", "c0ffee")
    assert run is not None
    reader = run.read()
    seen = [next(reader)]
    assert Compactor(run.folder, fan_in=3).compact() == 4
    assert [*seen, *reader] == wanted
    move()
    later = Store(Path(address)).find_run("demo", "c0ffee")
    assert later is not None
    assert len(read_commits(later.folder / LOG).commits) == 1
    assert list(later.read()) == wanted
    assert len(later.every_row(["trajectory_id"])) == len(wanted)


def test_files_leave_a_full_mirror_while_they_are_read(
    address: str, make_trajectory: Make, move: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file that is fetched puts all others out, also those that a reader has begun with."""
    run = Store(Path(address)).open_run("demo", {}, "c0ffee")
    wanted = [make_trajectory(f"p{number}") for number in range(4)]
    for one in wanted:
        run.append([one])
    run.publish(run.read(), {})
    monkeypatch.setenv("TIRGEN_CACHE_GB", "0.00004")
    monkeypatch.setattr("storage.objects.cache.QUIET_SECONDS", 0.0)
    move()
    store = Store(Path(address))
    found = store.find_run("demo", "c0ffee")
    assert found is not None
    reader = found.read()
    seen = [next(reader)]
    assert list(found.read()) == wanted
    assert query(store, "SELECT count(question) AS n FROM trajectories").to_pylist() == [{"n": 4}]
    assert [*seen, *reader] == wanted
    batches = [path for path in found.folder.rglob("*.parquet") if path.name != "empty.parquet"]
    assert len(batches) < len(wanted)
    held = store.version("demo")
    assert list(held.read()) == wanted
    assert list(found.read()) == wanted
    assert all(file.path.exists() for file in held.stored)


COMMANDS = (
    ["sql", "FROM trajectories"], ["dataset", "list"], ["dataset", "gc"], ["watch", "--json"],
    ["generate", "--dataset", "demo", "--limit", "2"], ["view", "demo"], ["report", "demo"],
    ["policy", "sft", "demo", "--policy", "pupil"],
)  # fmt: skip


@pytest.mark.slow  # it imports torch and the viewer
@pytest.mark.parametrize("what", ["no bucket", "refused", "down"])
def test_every_command_says_what_is_wrong_with_a_bucket_and_no_secret(
    address: str,
    s3: S3,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TIRGEN_BUCKET_PATIENCE", "0.1")
    said = {
        "no bucket": "there is no bucket 'not-there-at-all'",
        "refused": f"access to {address} was refused (InvalidAccessKeyId)",
        "down": f"{address} at http://127.0.0.1:9 cannot be reached",
    }[what]
    if what == "no bucket":
        address = "s3://not-there-at-all/x"
    if what == "down":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with s3.refusing() if what == "refused" else nullcontext():
        for command in COMMANDS:
            assert run([*command, "--store", address]) == WORK_FAILED, command
            told = "".join(capsys.readouterr())
            assert said in told
            assert "next: " in told or '"hint": ' in told
            assert "Traceback" not in told
            assert "kept-out-of-every-file" not in told


def test_what_is_wrong_with_a_bucket_is_said(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(NoBucket, match="there is no bucket 'not-there-at-all'"):
        Store(Path("s3://not-there-at-all/x")).names()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TIRGEN_BUCKET_PATIENCE", "0.1")
    with pytest.raises(Unreachable, match="cannot be reached"):
        Store(Path("s3://not-there-at-all/x")).names()
    mirrored = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert mirrored
    assert not any(b"kept-out-of-every-file" in file.read_bytes() for file in mirrored)
