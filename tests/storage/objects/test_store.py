"""A store in a bucket, through the same interface as one on a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage import places
from storage.datasets import Store
from storage.records import Trajectory
from storage.sql import query

if TYPE_CHECKING:
    from tests.storage.objects.conftest import S3

Make = Callable[..., Trajectory]


@pytest.fixture
def address(s3: S3) -> str:
    return f"s3://{s3.new_bucket()}/stores/demo"


@pytest.fixture
def on_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """From then on this process reads through an empty mirror."""
    count = iter(range(100))

    def move() -> None:
        monkeypatch.setenv(places.VARIABLE, str(tmp_path / f"machine-{next(count)}"))
        places.mirrors.cache_clear()

    return move


def test_another_machine_reads_what_was_committed_and_published(
    address: str, make_trajectory: Make, on_another_machine: Callable[[], None]
) -> None:
    run = Store(Path(address)).open_run("demo", {"k": 1}, "c0ffee")
    run.append([make_trajectory("p1"), make_trajectory("p2")])
    on_another_machine()
    store = Store(Path(address))
    found = store.find_run("demo", "c0ffee")
    assert found is not None
    assert list(found.read()) == [make_trajectory("p1"), make_trajectory("p2")]
    assert query(store, "SELECT count(*) AS n FROM running").to_pylist() == [{"n": 2}]
    version = found.publish(found.read(), {})
    store.tag("demo", "gold")
    on_another_machine()
    store = Store(Path(address))
    assert list(store.version("demo@gold").read()) == list(version.read())
    rows = query(store, "SELECT version, count(*) AS n FROM trajectories GROUP BY ALL").to_pylist()
    assert rows == [{"version": "v1", "n": 2}]
    assert query(store, "SELECT count(*) AS n FROM running").to_pylist() == [{"n": 0}]
    store.untag("demo", "gold")
    on_another_machine()
    assert query(Store(Path(address)), "SELECT count(*) AS n FROM tags").to_pylist() == [{"n": 0}]
