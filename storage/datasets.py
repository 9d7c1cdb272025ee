"""The store: datasets by name, their runs and their versions, below one folder.

ROOT/tirgen.duckdb                              views and macros for any DuckDB client, no data
ROOT/datasets/NAME/runs/<config hash>/          config.json, log.jsonl, batches/
ROOT/datasets/NAME/versions/v1/                 manifest.json, part-00000.parquet
ROOT/datasets/NAME/latest                       link to the newest version
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from storage import names, numbered
from storage.errors import Damaged, NotFound
from storage.records import Trajectory
from storage.runs import CONFIG, Run
from storage.versions import DatasetVersion, every_version, publish, versions
from storage.views import refresh


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
        try:
            described = json.loads(config.read_bytes())
        except ValueError as error:
            raise Damaged(config, "is not JSON") from error
        return Run(self.root, dataset, described, config_hash)

    def has_runs(self, dataset: str) -> bool:
        """Some run of the dataset was opened, published or not."""
        return any((self.dataset_folder(dataset) / "runs").glob("*"))

    def datasets(self) -> list[DatasetVersion]:
        """The latest version of every dataset that has one, by name; no older one stands in."""
        folders = names.folders(self.root / "datasets")
        latest = (found[-1] for folder in folders if (found := every_version(folder)))
        return list(numbered.whole(latest))

    def versions(self, name: str) -> list[DatasetVersion]:
        """The whole versions of a dataset, oldest first; empty where none is published."""
        return versions(self.dataset_folder(name))

    def version(self, reference: str) -> DatasetVersion:
        """One version, as ``name@v3``, or the latest as ``name``.

        Raises:
            NotFound: no such dataset, or no such version of it.
            Damaged: the version is not what was published.
        """
        found = self.published_version(reference)
        found.check_present()
        return found

    def published_version(self, reference: str) -> DatasetVersion:
        """The same, damaged or not."""
        name, _, wanted = reference.partition("@")
        published = every_version(self.dataset_folder(name))
        if not published:
            hint = "list what is published: tirgen dataset list"
            raise NotFound(f"no dataset {name!r} is published in {self.root}", hint)
        if found := numbered.chosen(published, wanted):
            return found
        hint = f"list its versions: tirgen dataset show {name}"
        raise NotFound(f"dataset {name!r} has no version {wanted!r}", hint)

    def derive(
        self,
        source: DatasetVersion,
        rows: Iterable[Trajectory],
        describe: Callable[[], dict[str, Any]],
    ) -> DatasetVersion:
        """Publish rows that were made from a version as its dataset's next one.

        They are taken one after the other. What `describe` says behind the last goes into the
        manifest, beside ``made_from``, the version they were made from.
        """

        def described() -> dict[str, Any]:
            return {**describe(), "made_from": str(source)}

        version = publish(self.dataset_folder(source.dataset), rows, described)
        refresh(self.root)
        return version

    def _run_folder(self, dataset: str, config_hash: str) -> Path:
        return self.dataset_folder(dataset) / "runs" / names.safe(config_hash, "configuration hash")

    def names(self) -> list[str]:
        """Every dataset that has a version or a run."""
        found = names.folders(self.root / "datasets")
        return [one.name for one in found if every_version(one) or self.has_runs(one.name)]

    def dataset_folder(self, dataset: str) -> Path:
        """Where a dataset lies. Raises InvalidName."""
        return self.root / "datasets" / names.safe(dataset, "dataset name")
