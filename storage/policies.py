"""Published policy versions: numbered model folders (`storage.numbered`) in Hugging Face layout.

ROOT/policies/NAME/versions/v1/       manifest.json, config.json, *.safetensors, tokenizer files
ROOT/policies/NAME/versions/v1/master/  float32 weights, where those beside it are in bfloat16
ROOT/policies/NAME/latest             link to the newest version
ROOT/policies/NAME/work/<config hash>/  lineage.json, and checkpoints from which a training resumes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage import documents, files, names, numbered
from storage.checksums import StoredFile

LINEAGE = "lineage.json"
"""File in a training's folder: what it learns from, as in the manifest of the policy."""


WORK = "work"
"""Folder of a policy with one folder for each of its trainings."""


@dataclass(frozen=True)
class PolicyVersion(numbered.Version):
    """One version of a policy.

    Its manifest has parent policy, dataset version, configuration, metrics and files.
    """

    NOUN = "policy"
    NEEDED = ("created_at", "config_hash", "files")

    @property
    def policy(self) -> str:
        return self.name

    @property
    def stored(self) -> list[StoredFile]:
        return [StoredFile(path) for path in self.digests]

    @property
    def digests(self) -> dict[Path, str]:
        return {self.path / name: digest for name, digest in self.manifest["files"].items()}


class Policies:
    """The policies of the store below `root`; nothing is created before the first publication."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute() / "policies"

    def all(self) -> list[PolicyVersion]:
        """Every version of every policy, by name, oldest first."""
        found = (path.name for path in names.folders(self._root))
        return [version for name in found for version in self.versions(name)]

    def every(self) -> list[PolicyVersion]:
        """The same, damaged ones included."""
        found = names.folders(self._root)
        return [version for path in found for version in numbered.every(path, PolicyVersion)]

    def unfinished(self) -> list[tuple[str, str]]:
        """The policies with a training that has begun and not published, each with the dataset
        version that it learns from. Raises Damaged."""
        files.update(self._root)
        begun = [path for path in self._root.glob(f"*/{WORK}/*/{LINEAGE}")]
        return [
            (name, str(documents.read(path)["dataset"]))
            for path in begun
            for name in [path.parents[2].name]
            if not self.made_by(name, path.parent.name)
        ]

    def versions(self, name: str) -> list[PolicyVersion]:
        """The undamaged versions of a policy, oldest first; empty where none is published."""
        return numbered.versions(self._folder(name), PolicyVersion)

    def version(self, reference: str) -> PolicyVersion:
        """One version, as ``name@v3``, or the latest as ``name``.

        Raises:
            NotFound: no such policy, or no such version of it.
            Damaged: files of the version are missing or were changed.
        """
        found = self.published_version(reference)
        found.check_present()
        return found

    def published_version(self, reference: str) -> PolicyVersion:
        """The same, damaged or not. Raises NotFound."""
        folder = self._folder(reference.partition("@")[0])
        hint = "list the published policies: tirgen policy list; or give the folder of a model"
        return numbered.find(folder, reference, PolicyVersion, hint)

    def made_by(self, name: str, config_hash: str) -> PolicyVersion | None:
        """The version published by the run of this configuration, or None."""
        found = (v for v in self.versions(name) if v.manifest["config_hash"] == config_hash)
        return next(found, None)

    def work(self, name: str, config_hash: str) -> Path:
        """Where the training run of a configuration keeps its checkpoints; not created here.

        Raises:
            InvalidName: the hash is no safe folder name; a foreign manifest may contain any text.
        """
        return self._folder(name) / WORK / names.safe(config_hash, "configuration hash")

    def publish(
        self, name: str, write: Callable[[Path], None], described: dict[str, Any]
    ) -> PolicyVersion:
        """Let `write` fill a folder with the model, and make it the policy's next version.

        `described` becomes part of the manifest: ``config_hash``, ``parent``, ``dataset``,
        ``config`` and ``metrics``, all JSON values.
        """
        folder = self._folder(name)
        with numbered.preparing(folder) as prepared:
            write(prepared)
            manifest = {
                "name": name,
                **described,
                "files": {
                    file.relative_to(prepared).as_posix(): files.sha256(file)
                    for file in sorted(prepared.rglob("*"))
                    if file.is_file()
                },
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            return numbered.place(folder, prepared, lambda previous: manifest, PolicyVersion)

    def _folder(self, name: str) -> Path:
        return self._root / names.safe(name, "policy name")
