"""No flipped bit gives a wrong answer: in no kind of file that the store writes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import damage
from storage.datasets import Store
from tests.storage.flips import KINDS, OF_KIND, Sweep, kind_of, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "store").root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Iterator[Store]:
    """One of its own to damage."""
    yield Store(shutil.copytree(made, tmp_path / "store", symlinks=True))
    damage._warned.clear()


def files_by_kind(store: Store) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(store.root.rglob("*")):
        if not path.is_file() or path.is_symlink() or not path.stat().st_size:
            continue
        if kind := kind_of(path.relative_to(store.root).as_posix()):
            found[kind].append(path)
    return found


def test_every_file_of_a_store_is_of_a_known_kind(store: Store) -> None:
    found = files_by_kind(store)
    assert [kind for kind, there in found.items() if not there] == []
    with pytest.raises(KeyError):
        kind_of("datasets/demo/notes.json")


def test_no_flipped_bit_gives_a_wrong_answer(store: Store) -> None:
    """Found by the read, or left out and told, or the answer is the same."""
    rng, sweep = random.Random(1), Sweep(store)
    for kind, there in files_by_kind(store).items():
        for _ in range(2):
            path = rng.choice(there)
            sweep.flip(path, kind, rng.randrange(8 * path.stat().st_size), OF_KIND[kind])
    assert sweep.wrong == []


@pytest.mark.slow
def test_no_flipped_bit_of_many_gives_a_wrong_answer(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hundred flips in each kind of file, at places that are drawn anew for each kind."""
    rng, sweep = random.Random(2), Sweep(store)
    for kind, there in files_by_kind(store).items():
        places = [(path, byte) for path in there for byte in range(path.stat().st_size)]
        for path, byte in rng.sample(places, min(100, len(places))):
            sweep.flip(path, kind, 8 * byte + rng.randrange(8), OF_KIND[kind])
        with capsys.disabled():
            print(f"\n{kind}: {dict(sweep.found[kind])}")
    assert sweep.wrong == []
    documents = set(KINDS) - {"journal", "columns", "checkpoint of a log"}
    for kind in documents:
        assert sweep.found[kind]["check"] > 0.8 * sweep.found[kind]["flips"]
