"""Numbered versions of one thing: immutable folders with a manifest, named v1, v2, ...

THING/versions/v1/manifest.json   beside whatever was published
THING/latest                      link to the newest version, for other tools

A version is prepared as a whole under another name and moved into place with a single rename, which
fails where one already lies: none is ever overwritten, none is ever seen half, and of two
publishers at once the second takes the next number. The latest is the one with the highest number.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from storage import files
from storage.checksums import StoredFile
from storage.damage import left_out
from storage.errors import Damaged

MANIFEST = "manifest.json"
DIGEST = "manifest_sha256"
"""Key of a manifest's own digest, so that a changed number in it is noticed."""


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

    NEEDED: ClassVar[tuple[str, ...]] = ()
    """What a manifest has to say."""

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What lies here and where it came from.

        Raises:
            Damaged: it is gone or not what was written.
        """
        path = self.path / MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise Damaged(path, "is missing" if missing else f"cannot be read: {error}") from error
        except (ValueError, RecursionError) as error:
            raise Damaged(path, "is not JSON") from error
        if not isinstance(manifest, dict):
            raise Damaged(path, "is no JSON object")
        if lacking := set(self.NEEDED) - set(manifest):
            raise Damaged(path, f"lacks {', '.join(sorted(lacking))}")
        if manifest.pop(DIGEST, None) not in (None, _digest(manifest)):
            raise Damaged(path, "is not what was written: its digest differs")
        return manifest

    @property
    @abstractmethod
    def stored(self) -> list[StoredFile]:
        """Its files as they were named when it was published."""

    @property
    @abstractmethod
    def digests(self) -> dict[Path, str]:
        """The SHA-256 of every file as it was published."""

    def check_present(self) -> None:
        """Without reading any but the manifest: raises Damaged where a file is missing or cut."""
        for file in self.stored:
            file.check_present()

    def damaged_files(self) -> list[Path]:
        """The files that are missing, or whose content is not what was published."""
        try:
            digests = self.digests
        except Damaged as damage:
            return [damage.path]
        return [path for path, digest in digests.items() if not files.is_intact(path, digest)]


V = TypeVar("V", bound=Version)


def every(thing: Path, kind: type[V]) -> list[V]:
    """The published versions below a thing's folder, oldest first, damaged ones too."""
    folders = (thing / "versions").glob("v*")
    numbered = [(int(p.name[1:]), p) for p in folders if re.fullmatch(r"v[1-9]\d*", p.name)]
    return [kind(path) for _, path in sorted(numbered)]


def versions(thing: Path, kind: type[V]) -> list[V]:
    """Those of them that are whole, as far as that can be told without reading their rows.

    A damaged one is left out, and that is told.
    """
    return list(whole(every(thing, kind)))


def whole(found: Iterable[V]) -> Iterator[V]:
    """The versions that are not damaged."""
    for version in found:
        try:
            version.check_present()
        except Damaged as damage:
            left_out(damage)
        else:
            yield version


def chosen(published: Sequence[V], version: str) -> V | None:
    """The version of that name, or the newest where none is named; None where there is none."""
    found = [one for one in published if version in ("", one.version)]
    return found[-1] if found else None


@contextmanager
def preparing(thing: Path) -> Iterator[Path]:
    """An empty folder to fill, which no reader takes for a version; gone if it was not placed."""
    files.make_folder(thing / "versions")
    prepared = files.temporary_beside(thing / "versions" / "version")
    prepared.mkdir()
    try:
        yield prepared
    finally:
        shutil.rmtree(prepared, ignore_errors=True)


def place(
    thing: Path, prepared: Path, describe: Callable[[str | None], dict[str, Any]], kind: type[V]
) -> V:
    """Make a prepared folder the thing's next version.

    `describe` gives its manifest, told the version before it, if any; the number is added here.
    """
    while True:
        existing = every(thing, kind)
        previous = existing[-1].version if existing else None
        version = f"v{int(previous[1:]) + 1 if previous else 1}"
        manifest = {**describe(previous), "version": version}
        manifest[DIGEST] = _digest(manifest)
        (prepared / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        path = thing / "versions" / version
        if files.place_new_folder(prepared, path):
            break
    _move_latest(thing, kind)
    return kind(path)


def _move_latest(thing: Path, kind: type[Version]) -> None:
    """Point `latest` at the newest version, again if another publisher came in between."""
    while True:
        newest = every(thing, kind)[-1]
        files.point_to(thing / "latest", f"versions/{newest.version}")
        if every(thing, kind)[-1] == newest:
            return


def _digest(manifest: dict[str, Any]) -> str:
    """The SHA-256 of all that a manifest says."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
