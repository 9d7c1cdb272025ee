"""Retention: which dataset versions may go, why the others stay, and their removal.

A version stays while anything needs it: a policy was trained on it, an evaluation has its figures
from it, a tag names it, a process uses it, a job works on its run, or it is one of the newest. Of a
removed version the manifest stays below `removed/`, so that lineage is complete and its run's rows
are not taken for unpublished ones.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from storage import files, numbered
from storage.compaction import ORPHAN_SECONDS
from storage.datasets import Store
from storage.errors import Damaged
from storage.holds import alone
from storage.leases import LEASES, holders
from storage.names import folders
from storage.places import mirror_of
from storage.policies import Policies
from storage.runs import run_folder
from storage.tags import tags
from storage.versions import DatasetVersion, every_version
from storage.views import refresh


class Fate(NamedTuple):
    """What becomes of a version."""

    version: DatasetVersion
    stays: str | None
    """Why it stays; None where nothing needs it."""
    size: int
    """Bytes that are freed when it goes; what it shares with other versions is not counted."""


def fates(store: Store, dataset: str = "", keep: int = 1, days: float = 0.0) -> list[Fate]:
    """What would become of each version of a dataset, by default of all datasets.

    The `keep` newest versions of each dataset stay, and all that are younger than `days`.

    Raises:
        NotFound: no such dataset.
        Damaged: the manifest of a policy cannot be read, so what it was trained on is unknown.
    """
    if dataset:
        store.published_version(dataset)
    users = _users(store)
    names = [dataset] if dataset else store.names()
    return [fate for name in names for fate in _of_dataset(store, name, keep, days, users)]


def remove(store: Store, chosen: Iterable[Fate]) -> list[Fate]:
    """Remove the versions that nothing needs; returns what became of each.

    Each is asked for again: one that something needs by now stays.
    """
    try:
        return [_removed(store, fate) if fate.stays is None else fate for fate in chosen]
    finally:
        refresh(store.root)


def _removed(store: Store, fate: Fate) -> Fate:
    with alone(fate.version.path / numbered.MANIFEST) as granted:
        stays = _needed(store, fate.version, _users(store)) if granted else _IN_USE
        if stays is None:
            _move_away(fate.version)
    return fate._replace(stays=stays)


_LEFTOVERS = (".*.tmp", "*/.*.tmp", "runs/*/.*.tmp")
"""Temporary files and folders below a dataset's folder; compaction removes those of batches."""


def remove_leftovers(store: Store) -> list[Path]:
    """Remove what killed processes left behind more than a day ago.

    In a bucket also the files of versions that were removed more than a day ago.
    """
    if mirror := mirror_of(store.root):
        for things in ("datasets", "policies"):
            for folder in folders(store.root / things):
                mirror.collect(folder, ORPHAN_SECONDS)
    found = [path for path in store.root.glob(".*.tmp")]
    for name in store.names():
        folder = store.dataset_folder(name)
        found += [path for pattern in _LEFTOVERS for path in folder.glob(pattern)]
    old = [path for path in found if time.time() - path.lstat().st_mtime > ORPHAN_SECONDS]
    for path in old:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return old


_IN_USE = "a process uses it"


def _of_dataset(
    store: Store, name: str, keep: int, days: float, users: Mapping[str, str]
) -> Iterator[Fate]:
    published = every_version(store.dataset_folder(name))
    damage = {version: _damage(version) for version in published}
    whole = [version for version in published if damage[version] is None]
    used = Counter(digest for one in whole for digest in set(one.digests.values()))
    for place, version in enumerate(published):
        stays = damage[version]
        if place >= len(published) - keep:
            stays = "the latest" if place == len(published) - 1 else f"one of the {keep} newest"
        stays, size = stays or _needed(store, version, users) or _young(version, days), 0
        if stays is None:
            with alone(version.path / numbered.MANIFEST) as granted:
                stays = None if granted else _IN_USE
                size = _own_bytes(version, used) if granted else 0
        yield Fate(version, stays, size)


def _damage(version: DatasetVersion) -> str | None:
    try:
        version.check_present()
    except Damaged as damage:
        return f"damaged: {damage.path.name} {damage.why}"
    return None


def _young(version: DatasetVersion, days: float) -> str | None:
    age = datetime.now(UTC) - datetime.fromisoformat(version.manifest["created_at"])
    return f"younger than {days:g} days" if age < timedelta(days=days) else None


def _needed(store: Store, version: DatasetVersion, users: Mapping[str, str]) -> str | None:
    folder = store.dataset_folder(version.dataset)
    try:
        tagged = tags(folder)
    except Damaged as damage:
        return f"damaged: {damage.path.name} {damage.why}"
    for tag, number in tagged.items():
        if number == version.version:
            return f"tagged {tag}"
    if str(version) in users:
        return users[str(version)]
    if "results" in version.manifest["summary"]:
        return "an evaluation has its figures from it"
    for holder in holders(run_folder(folder, version.manifest["config_hash"]) / LEASES).values():
        if not holder.is_dead:
            return f"{holder} works on its run"
    return None


def _users(store: Store) -> Mapping[str, str]:
    """By dataset version, the policy that was or is being trained on it."""
    policies, users = Policies(store.root), defaultdict[str, str](str)
    for name, dataset in policies.unfinished():
        users[dataset] = f"a training of {name} is not finished"
    for policy in policies.every():
        users[policy.manifest["dataset"]] = f"{policy} was trained on it"
    return dict(users)


def _own_bytes(version: DatasetVersion, used: Mapping[str, int]) -> int:
    """Of the files that no other version shares, by how many versions use each content."""
    sizes = {file.path: file.size or 0 for file in version.stored}
    return sum(sizes[path] for path, digest in version.digests.items() if used[digest] == 1)


def _move_away(version: DatasetVersion) -> None:
    """Keep the manifest, then take the folder away from readers with one rename."""
    dataset = version.path.parents[1]
    kept = dataset / numbered.REMOVED / version.version
    files.make_folder(kept.parent)
    with files.temporary_for(kept) as temporary:
        temporary.mkdir()
        shutil.copyfile(version.path / numbered.MANIFEST, temporary / numbered.MANIFEST)
        files.place_new_folder(temporary, kept)
    files.remove_folder(version.path)


def freed(done: Sequence[Fate]) -> int:
    """Bytes of the versions that go."""
    return sum(fate.size for fate in done if fate.stays is None)
