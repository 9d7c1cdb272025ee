"""Numbered versions of one thing: immutable folders with a manifest, named v1, v2, ...

THING/versions/v1/manifest.json   beside whatever was published
THING/latest                      link to the newest version, for other tools

A version is prepared as a whole under another name and moved into place with a single rename, which
fails where one already lies: none is ever overwritten, none is ever seen half, and of two
publishers at once the second takes the next number. The latest is the one with the highest number.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from storage import files

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Version(ABC):
    """One published version: a folder that never changes again."""

    path: Path

    @property
    def name(self) -> str:
        """Of the thing that this is a version of."""
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        """Its number among those of the thing, e.g. ``v3``."""
        return self.path.name

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What lies here and where it came from."""
        manifest: dict[str, Any] = json.loads((self.path / MANIFEST).read_bytes())
        return manifest

    @property
    @abstractmethod
    def digests(self) -> dict[Path, str]:
        """The SHA-256 of every file as it was published."""

    def damaged_files(self) -> list[Path]:
        """The files that are missing, or whose content is not what was published."""
        return [path for path, digest in self.digests.items() if not files.is_intact(path, digest)]


V = TypeVar("V", bound=Version)


def versions(thing: Path, kind: type[V]) -> list[V]:
    """The published versions below a thing's folder, oldest first."""
    folders = (thing / "versions").glob("v*")
    numbered = [(int(p.name[1:]), p) for p in folders if re.fullmatch(r"v[1-9]\d*", p.name)]
    return [kind(path) for _, path in sorted(numbered)]


def chosen(published: Sequence[V], version: str) -> V | None:
    """The version of that name, or the newest where none is named; None where there is none."""
    found = [one for one in published if version in ("", one.version)]
    return found[-1] if found else None


def prepare(thing: Path) -> Path:
    """An empty folder to fill, which no reader takes for a version."""
    files.make_folder(thing / "versions")
    prepared = files.temporary_beside(thing / "versions" / "version")
    prepared.mkdir()
    return prepared


def place(
    thing: Path, prepared: Path, describe: Callable[[str | None], dict[str, Any]], kind: type[V]
) -> V:
    """Make a prepared folder the thing's next version.

    `describe` gives its manifest, told the version before it, if any; the number is added here.
    """
    while True:
        existing = versions(thing, kind)
        previous = existing[-1].version if existing else None
        version = f"v{int(previous[1:]) + 1 if previous else 1}"
        manifest = {**describe(previous), "version": version}
        (prepared / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        path = thing / "versions" / version
        if files.place_new_folder(prepared, path):
            break
    _move_latest(thing, kind)
    return kind(path)


def _move_latest(thing: Path, kind: type[Version]) -> None:
    """Point `latest` at the newest version, again if another publisher came in between."""
    while True:
        newest = versions(thing, kind)[-1]
        files.point_to(thing / "latest", f"versions/{newest.version}")
        if versions(thing, kind)[-1] == newest:
            return
