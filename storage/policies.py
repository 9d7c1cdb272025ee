"""Published policy versions: numbered model folders (`storage.numbered`) in Hugging Face layout.

ROOT/policies/NAME/versions/v1/       manifest.json, config.json, *.safetensors, tokenizer files
ROOT/policies/NAME/latest             link to the newest version
ROOT/policies/NAME/work/<config hash>/  what a training run goes on from after an interruption
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage import files, names, numbered
from storage.checksums import StoredFile
from storage.errors import NotFound


@dataclass(frozen=True)
class PolicyVersion(numbered.Version):
    """One version of a policy.

    Its manifest has parent policy, dataset version, configuration, metrics and files.
    """

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
    """All policies of the store below `root`; nothing is created before the first is published."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute() / "policies"

    def all(self) -> list[PolicyVersion]:
        """Every version of every policy, by name, oldest first."""
        found = (path.name for path in names.folders(self._root))
        return [version for name in found for version in self.versions(name)]

    def versions(self, name: str) -> list[PolicyVersion]:
        """The whole versions of a policy, oldest first; empty where none is published."""
        return numbered.versions(self._folder(name), PolicyVersion)

    def version(self, reference: str) -> PolicyVersion:
        """One version, as ``name@v3``, or the latest as ``name``.

        Raises:
            NotFound: no such policy, or no such version of it.
            Damaged: the version is not what was published.
        """
        found = self.published_version(reference)
        found.check_present()
        return found

    def published_version(self, reference: str) -> PolicyVersion:
        """The same, damaged or not."""
        name, _, wanted = reference.partition("@")
        published = numbered.every(self._folder(name), PolicyVersion)
        if not published:
            hint = "list what is published: tirgen policy list; or give a model's folder"
            raise NotFound(f"no policy {name!r} is published in {self._root}", hint)
        if found := numbered.chosen(published, wanted):
            return found
        hint = f"its versions are {', '.join(one.version for one in published)}"
        raise NotFound(f"policy {name!r} has no version {wanted!r}", hint)

    def made_by(self, name: str, config_hash: str) -> PolicyVersion | None:
        """The version that a run with this configuration published, if it did."""
        found = (v for v in self.versions(name) if v.manifest["config_hash"] == config_hash)
        return next(found, None)

    def work(self, name: str, config_hash: str) -> Path:
        """Where the training run of a configuration keeps its checkpoints; not created here.

        Raises:
            InvalidName: a manifest that somebody else wrote may name any folder as its hash.
        """
        return self._folder(name) / "work" / names.safe(config_hash, "configuration hash")

    def publish(
        self, name: str, write: Callable[[Path], None], described: dict[str, Any]
    ) -> PolicyVersion:
        """Have `write` fill a folder with the model, and make it the policy's next version.

        `described` goes into the manifest: ``config_hash``, ``parent``, ``dataset``, ``config``
        and ``metrics``, all fit for JSON.
        """
        folder = self._folder(name)
        with numbered.preparing(folder) as prepared:
            write(prepared)
            manifest = {
                "name": name,
                **described,
                "files": {file.name: files.sha256(file) for file in sorted(prepared.iterdir())},
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            return numbered.place(folder, prepared, lambda previous: manifest, PolicyVersion)

    def _folder(self, name: str) -> Path:
        return self._root / names.safe(name, "policy name")
