"""Published policy versions: immutable model folders in Hugging Face layout, named v1, v2, ...

ROOT/policies/NAME/versions/v1/       manifest.json, config.json, *.safetensors, tokenizer files
ROOT/policies/NAME/latest             link to the newest version
ROOT/policies/NAME/work/<config hash>/  what a training run goes on from after an interruption

A version is published like a dataset version: prepared under another name, then moved into place
with one rename, so that none is ever seen half and none is overwritten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from storage import files
from storage.errors import InvalidName, NotFound

MANIFEST = "manifest.json"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class PolicyVersion:
    """One published policy: a folder that never changes again."""

    path: Path

    @property
    def policy(self) -> str:
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        """Its name within the policy, e.g. ``v3``."""
        return self.path.name

    def __str__(self) -> str:
        return f"{self.policy}@{self.version}"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Where it came from: parent policy, dataset version, configuration; metrics, files."""
        manifest: dict[str, Any] = json.loads((self.path / MANIFEST).read_bytes())
        return manifest

    def damaged_files(self) -> list[Path]:
        """The files that are missing, or whose content is not what was published."""
        return [
            self.path / name
            for name, digest in self.manifest["files"].items()
            if not files.is_intact(self.path / name, digest)
        ]


class Policies:
    """All policies of the store below `root`; nothing is created before the first is published."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute() / "policies"

    def all(self) -> list[PolicyVersion]:
        """Every version of every policy, by name, oldest first."""
        names = sorted(path.name for path in self._root.glob("*") if path.is_dir())
        return [version for name in names for version in self.versions(name)]

    def versions(self, name: str) -> list[PolicyVersion]:
        """All versions of a policy, oldest first; empty where none is published."""
        folders = (self._folder(name) / "versions").glob("v*")
        numbered = [(int(p.name[1:]), p) for p in folders if re.fullmatch(r"v[1-9]\d*", p.name)]
        return [PolicyVersion(path) for _, path in sorted(numbered)]

    def version(self, reference: str) -> PolicyVersion:
        """One version, as ``name@v3``, or the latest as ``name``.

        Raises:
            NotFound: no such policy, or no such version of it.
        """
        name, _, wanted = reference.partition("@")
        published = self.versions(name)
        if not published:
            hint = "list what is published: tirgen policy list; or give a model's folder"
            raise NotFound(f"no policy {name!r} is published in {self._root}", hint)
        if not wanted:
            return published[-1]
        for candidate in published:
            if candidate.version == wanted:
                return candidate
        hint = f"its versions are {', '.join(found.version for found in published)}"
        raise NotFound(f"policy {name!r} has no version {wanted!r}", hint)

    def made_by(self, name: str, config_hash: str) -> PolicyVersion | None:
        """The version that a run with this configuration published, if it did."""
        found = (v for v in self.versions(name) if v.manifest["config_hash"] == config_hash)
        return next(found, None)

    def work(self, name: str, config_hash: str) -> Path:
        """Where the training run of a configuration keeps its checkpoints; not created here."""
        return self._folder(name) / "work" / config_hash

    def publish(
        self, name: str, write: Callable[[Path], None], described: dict[str, Any]
    ) -> PolicyVersion:
        """Have `write` fill a folder with the model, and make it the policy's next version.

        `described` goes into the manifest: ``config_hash``, ``parent``, ``dataset``, ``config``
        and ``metrics``, all fit for JSON.
        """
        folder = self._folder(name)
        files.make_folder(folder / "versions")
        temporary = files.temporary_beside(folder / "versions" / "version")
        temporary.mkdir()
        write(temporary)
        manifest = {
            "name": name,
            **described,
            "files": {file.name: files.sha256(file) for file in sorted(temporary.iterdir())},
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return self._place(folder, temporary, manifest)

    def _place(self, folder: Path, prepared: Path, manifest: dict[str, Any]) -> PolicyVersion:
        while True:
            existing = self.versions(folder.name)
            version = f"v{int(existing[-1].version[1:]) + 1 if existing else 1}"
            text = json.dumps({**manifest, "version": version}, indent=2) + "\n"
            (prepared / MANIFEST).write_text(text)
            if files.place_new_folder(prepared, folder / "versions" / version):
                break
        self._move_latest(folder)
        return PolicyVersion(folder / "versions" / version)

    def _move_latest(self, folder: Path) -> None:
        """Point `latest` at the newest version, again if another publisher came in between."""
        while True:
            newest = self.versions(folder.name)[-1]
            files.point_to(folder / "latest", f"versions/{newest.version}")
            if self.versions(folder.name)[-1] == newest:
                return

    def _folder(self, name: str) -> Path:
        if not _SAFE_NAME.fullmatch(name):
            hint = "use letters, digits, dot, dash and underscore, beginning with a letter or digit"
            raise InvalidName(f"{name!r} cannot be a policy name", hint)
        return self._root / name
