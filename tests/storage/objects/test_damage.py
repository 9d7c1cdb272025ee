"""No flipped bit gives a wrong answer: in no object of a bucket, and in no file of its mirror."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage import damage, places
from storage.datasets import Store
from storage.objects.mirror import OBJECTS
from tests.storage.flips import READS, Sweep, answers, make

if TYPE_CHECKING:
    from tests.storage.objects.conftest import S3

ALL = [*READS, "journal"]


@pytest.fixture
def store(s3: S3) -> Iterator[Store]:
    store = make(Path(f"s3://{s3.new_bucket()}/store"))
    mirror = places.mirror_of(store.root)
    assert mirror is not None
    mirror.flush()
    yield store
    damage._warned.clear()


@pytest.mark.slow
def test_no_flipped_bit_of_an_object_gives_a_wrong_answer(
    store: Store, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time as read by a machine that has seen nothing of the bucket yet."""
    rng, sweep, client, address = random.Random(1), Sweep(store), s3.client(), str(store)
    bucket = address.split("/")[2]
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]]
    for number, key in enumerate(keys):
        whole = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        if not whole:
            continue
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        client.put_object(Bucket=bucket, Key=key, Body=bytes(flipped))
        monkeypatch.setenv(places.VARIABLE, str(tmp_path / f"machine-{number}"))
        places.mirrors.cache_clear()
        damage._warned.clear()
        sweep.count("log", key, answers(Store(Path(address)), ALL))
        client.put_object(Bucket=bucket, Key=key, Body=whole)
    assert sweep.wrong == []


def test_no_flipped_bit_of_what_only_a_mirror_has_gives_a_wrong_answer(store: Store) -> None:
    rng, sweep = random.Random(1), Sweep(store)
    root, address = store.root, str(store)
    kinds = [root / places.ADDRESS, root / ".mirror" / "meta.json", *root.rglob(OBJECTS)]
    assert len(kinds) > 4
    for path in kinds:
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        damage._warned.clear()
        places._mirror.cache_clear()
        found = answers(Store(Path(address)), ("rows", "tagged", "policy"))
        sweep.count("log", str(path), found)
        path.write_bytes(whole)
    assert sweep.wrong == []
