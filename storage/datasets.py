"""The store: datasets by name, their runs and their versions, below one folder.

ROOT/tirgen.duckdb                              views and macros for any DuckDB client, no data
ROOT/datasets/NAME/runs/<config hash>/          config.json, log.jsonl, batches/
ROOT/datasets/NAME/versions/v1/                 manifest.json, part-00000.parquet
ROOT/datasets/NAME/latest                       link to the newest version
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from storage.errors import InvalidName, NotFound
from storage.records import Trajectory
from storage.runs import CONFIG, Run
from storage.versions import DatasetVersion, publish, versions
from storage.views import refresh

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Store:
    """Everything generated below `root`; nothing is created before the first run is opened."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def open_run(self, dataset: str, config: dict[str, Any], config_hash: str) -> Run:
        """Create the run of a configuration, or find it again with all that it committed.

        Raises:
            InvalidName: the dataset's name or the hash is no safe folder name.
        """
        self._run_folder(dataset, config_hash)  # refuses unsafe names before anything is made
        run = Run(self.root, dataset, config, config_hash)
        refresh(self.root)
        return run

    def find_run(self, dataset: str, config_hash: str) -> Run | None:
        """The run of a configuration if it was ever opened; creates nothing."""
        config = self._run_folder(dataset, config_hash) / CONFIG
        if not config.exists():
            return None
        return Run(self.root, dataset, json.loads(config.read_bytes()), config_hash)

    def has_runs(self, dataset: str) -> bool:
        """Some run of the dataset was opened, published or not."""
        return any((self._folder(dataset) / "runs").glob("*"))

    def datasets(self) -> list[DatasetVersion]:
        """The latest version of every dataset that has one, by name."""
        folders = sorted((self.root / "datasets").glob("*"))
        return [found[-1] for folder in folders if (found := versions(folder))]

    def versions(self, name: str) -> list[DatasetVersion]:
        """All versions of a dataset, oldest first; empty where none is published."""
        return versions(self._folder(name))

    def version(self, name: str, version: str | None = None) -> DatasetVersion:
        """One version, given as ``version``, within the name as ``name@v3``, or else the latest.

        Raises:
            NotFound: no such dataset, or no such version of it.
        """
        name, _, suffix = name.partition("@")
        wanted = version or suffix or None
        published = self.versions(name)
        if not published:
            hint = "list what is published: tirgen dataset list"
            raise NotFound(f"no dataset {name!r} is published in {self.root}", hint)
        if wanted is None:
            return published[-1]
        for candidate in published:
            if candidate.version == wanted:
                return candidate
        hint = f"list its versions: tirgen dataset show {name}"
        raise NotFound(f"dataset {name!r} has no version {wanted!r}", hint)

    def derive(
        self, source: DatasetVersion, rows: Iterable[Trajectory], described: dict[str, Any]
    ) -> DatasetVersion:
        """Publish rows that were made from a version as its dataset's next one.

        `described` goes into the manifest, beside ``made_from``, the version they were made from.
        """
        made_from = {**described, "made_from": str(source)}
        version = publish(self._folder(source.dataset), rows, made_from)
        refresh(self.root)
        return version

    def _run_folder(self, dataset: str, config_hash: str) -> Path:
        return self._folder(dataset) / "runs" / _safe(config_hash, "configuration hash")

    def _folder(self, dataset: str) -> Path:
        return self.root / "datasets" / _safe(dataset, "dataset name")


def _safe(name: str, what: str) -> str:
    if not _SAFE_NAME.fullmatch(name):
        hint = "use letters, digits, dot, dash and underscore, beginning with a letter or digit"
        raise InvalidName(f"{name!r} cannot be a {what}", hint)
    return name
