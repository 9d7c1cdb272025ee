"""Checking a dataset or a policy: are all files of its versions and work as they were written?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from storage import documents, files
from storage.calls import CALLS
from storage.checksums import StoredFile, checksums
from storage.commits import LOG, read_log
from storage.datasets import Store
from storage.errors import Damaged
from storage.idle import IDLE
from storage.leases import LEASES
from storage.names import folders
from storage.numbered import MANIFEST, REMOVED, Version
from storage.policies import WORK, Policies
from storage.runs import CONFIG
from storage.tags import FOLDER
from storage.versions import every_version

PARTS = (LEASES, CALLS, IDLE)
"""Folders with documents, in that of a run or a training. A damaged line of a journal costs a call
and is no damage: a killed process leaves the same."""


class Flaw(NamedTuple):
    """A damaged file and what is wrong with it."""

    path: Path
    why: str


def flaws(store: Store, reference: str) -> Iterator[Flaw]:
    """The damaged files of a dataset with its versions and runs, or of one version (``name@v3`` or
    ``name@TAG``).

    Raises:
        NotFound: no such dataset, or no such version of it.
    """
    name, _, wanted = reference.partition("@")
    folder = store.dataset_folder(name)
    if wanted:
        wanted = store.published_version(reference).version
    elif not store.has_runs(name):
        store.published_version(name)  # raises NotFound
    for version in every_version(folder):
        if wanted in ("", version.version):
            yield from flaws_of_version(version)
    if not wanted:
        for path in [*folders(folder / FOLDER), *sorted(folder.glob(f"{REMOVED}/*/{MANIFEST}"))]:
            if path.suffix == ".json" and (why := _flaw_of_document(path)):
                yield Flaw(path, why)
        for run in folders(folder / "runs"):
            yield from _flaws_of_run(run)


def flaws_of_policy(policies: Policies, reference: str) -> Iterator[Flaw]:
    """The damaged files of a policy version, and the damaged documents of the policy's trainings.

    Raises NotFound.
    """
    version = policies.published_version(reference)
    yield from flaws_of_version(version)
    for training in folders(version.path.parents[1] / WORK):
        yield from flaws_of_work(training)


def flaws_of_version(version: Version) -> Iterator[Flaw]:
    """The files of a version that are not what was published."""
    for path in version.damaged_files():
        yield Flaw(path, "is not what was published" if path.exists() else "is missing")


def flaws_of_work(folder: Path) -> Iterator[Flaw]:
    """The damaged documents in the folder of a run or a training: all but tables and weights."""
    for part in ("", *PARTS):
        files.update(folder / part)
        for path in sorted((folder / part).glob("*.json*")):
            if path.name != LOG and (why := _flaw_of_document(path)):
                yield Flaw(path, why)


def _flaw_of_document(path: Path) -> str | None:
    try:
        if path.suffix == ".json":
            documents.read(path)
        else:
            for _ in documents.lines(path):
                pass
    except Damaged as damage:
        return damage.why
    except FileNotFoundError:  # removed by its process just now
        pass
    return None


def _flaws_of_run(run: Path) -> Iterator[Flaw]:
    yield from flaws_of_work(run)
    if not (run / CONFIG).is_file():
        yield Flaw(run / CONFIG, "is missing")
    try:
        log = read_log(run / LOG, whole=True)
    except Damaged as damage:
        yield Flaw(damage.path, damage.why)
        return
    for line in log.damaged:
        yield Flaw(run / LOG, f"is not what was written in line {line}")
    for line in log.cut:
        yield Flaw(run / LOG, f"is cut short in line {line}, by a killed writer or by damage")
    for commit in log.commits:
        if why := _flaw_of_file(commit.file):
            yield Flaw(commit.file.path, why)


def _flaw_of_file(file: StoredFile) -> str | None:
    try:
        files.fetch_again(file.path)
        file.check_present()
    except FileNotFoundError:
        return "is missing"
    except Damaged as damage:
        return damage.why
    if file.crc32 is not None and checksums(file.path) != file.crc32:
        return "is not what was committed"
    return None
