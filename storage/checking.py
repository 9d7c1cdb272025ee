"""Checking a dataset: are all files of its versions and runs as they were written?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from storage import files
from storage.checksums import StoredFile, checksums
from storage.commits import LOG, read_log
from storage.datasets import Store
from storage.errors import Damaged
from storage.names import folders
from storage.runs import CONFIG
from storage.versions import every_version


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
            for path in version.damaged_files():
                yield Flaw(path, "is not what was published" if path.exists() else "is missing")
    if not wanted:
        for run in folders(folder / "runs"):
            yield from _flaws_of_run(run)


def _flaws_of_run(run: Path) -> Iterator[Flaw]:
    try:
        json.loads((run / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        yield Flaw(run / CONFIG, f"cannot be read: {error}")
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
