"""The store: datasets by name, their runs and their versions, below one folder.

ROOT/tirgen.duckdb                              views and macros for any DuckDB client, no data
ROOT/datasets/NAME/runs/<config hash>/          config.json, log.jsonl, log.checkpoint, batches/
ROOT/datasets/NAME/versions/v1/                 manifest.json, part-00000.parquet
ROOT/datasets/NAME/latest                       link to the newest version
ROOT/datasets/NAME/tags/TAG.json                the version that a tag names
ROOT/datasets/NAME/removed/v1/                  manifest.json of a removed version
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from storage import documents, files, names, numbered, tags
from storage.errors import InvalidName, NotFound
from storage.objects.address import address_of
from storage.places import open_mirror, shown
from storage.records import Verdicts
from storage.runs import CONFIG, Run, run_folder
from storage.versions import DatasetVersion, every_version, publish_verdicts, versions
from storage.views import refresh


class Store:
    """The datasets below `root`; nothing is created before the first run is opened."""

    def __init__(self, root: Path) -> None:
        """`root` may also be the address of a bucket, ``s3://bucket/prefix``; see `storage.places`.

        Raises InvalidName for another address.
        """
        address = address_of(str(root))
        self.root = open_mirror(address) if address else root.absolute()

    def __str__(self) -> str:
        """Its folder or address."""
        return shown(self.root)

    def open_run(self, dataset: str, config: dict[str, Any], config_hash: str) -> Run:
        """Create the run of a configuration, or find it again with its committed rows.

        Raises:
            InvalidName: the dataset's name or the hash is no safe folder name.
        """
        self._run_folder(dataset, config_hash)  # refuses unsafe names before anything is made
        run = Run(self.root, dataset, config, config_hash)
        refresh(self.root)
        return run

    def find_run(self, dataset: str, config_hash: str) -> Run | None:
        """The run of a configuration, or None if it was never opened; creates nothing.

        Raises Damaged if its configuration was changed.
        """
        config = self._run_folder(dataset, config_hash) / CONFIG
        files.update(config.parent)
        try:
            return Run(self.root, dataset, documents.read(config), config_hash)
        except FileNotFoundError:
            return None

    def has_runs(self, dataset: str) -> bool:
        """Whether any run of the dataset was ever opened, published or not."""
        return bool(names.folders(self.dataset_folder(dataset) / "runs"))

    def datasets(self) -> list[DatasetVersion]:
        """The latest version of every published dataset, by name. A damaged one is left out; no
        older version takes its place."""
        folders = names.folders(self.root / "datasets")
        latest = (found[-1] for folder in folders if (found := every_version(folder)))
        return list(numbered.whole(latest))

    def versions(self, name: str) -> list[DatasetVersion]:
        """The undamaged versions of a dataset, oldest first; empty where none is published."""
        return versions(self.dataset_folder(name))

    def version(self, reference: str) -> DatasetVersion:
        """One version, as ``name@v3`` or by a tag, or the latest as ``name``.

        No other process removes it as long as the returned object lives.

        Raises:
            NotFound: no such dataset, or no such version of it.
            Damaged: files of the version are missing or were changed.
        """
        found = self.published_version(reference)
        found.hold()
        found.check_present()
        return found

    def published_version(self, reference: str) -> DatasetVersion:
        """The same, damaged or not. Raises NotFound."""
        folder = self.dataset_folder(reference.partition("@")[0])
        hint = "list the published datasets: tirgen dataset list"
        return numbered.find(folder, reference, DatasetVersion, hint)

    def tag(self, reference: str, tag: str, *, move: bool = False) -> DatasetVersion:
        """Let a tag name a version; `move` lets it do so if it names another one now.

        Raises:
            NotFound: no such version.
            InvalidName: the tag is no safe name, could be taken for the number of a version, or
                names another version.
        """
        version = self.version(reference)
        folder = self.dataset_folder(version.dataset)
        named = tags.tags(folder).get(tag, version.version)
        if named != version.version and not move:
            raise InvalidName(
                f"{version.dataset}@{tag} names {named} already",
                "choose another tag, or add --move",
            )
        tags.set_tag(folder, tag, version.version)
        refresh(self.root)
        return version

    def untag(self, dataset: str, tag: str) -> None:
        """Remove a tag. Raises NotFound if the dataset has no such tag."""
        folder = self.dataset_folder(dataset)
        if tag not in tags.tags(folder):
            known = ", ".join(tags.tags(folder)) or "none"
            raise NotFound(f"dataset {dataset!r} has no tag {tag!r}", f"its tags: {known}")
        tags.remove_tag(folder, tag)
        refresh(self.root)

    def derive(
        self,
        source: DatasetVersion,
        found: Iterable[Verdicts],
        describe: Callable[[], dict[str, Any]],
    ) -> DatasetVersion:
        """Publish other verdicts on the rows of a version as the next version of its dataset.

        The rows are shared. Verdicts are read one by one, in the order of the rows. `describe` is
        called after the last; its keys go into the manifest, together with ``made_from``, the
        source version.
        """

        def described() -> dict[str, Any]:
            return {**describe(), "made_from": str(source)}

        version = publish_verdicts(source, found, described)
        refresh(self.root)
        return version

    def _run_folder(self, dataset: str, config_hash: str) -> Path:
        return run_folder(self.dataset_folder(dataset), config_hash)

    def names(self) -> list[str]:
        """The names of all datasets that have a version or a run."""
        found = names.folders(self.root / "datasets")
        return [one.name for one in found if every_version(one) or self.has_runs(one.name)]

    def dataset_folder(self, dataset: str) -> Path:
        """The folder of a dataset. Raises InvalidName."""
        return self.root / "datasets" / names.safe(dataset, "dataset name")
