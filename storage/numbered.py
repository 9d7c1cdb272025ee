"""Numbered versions of a dataset or a policy: immutable folders with a manifest, v1, v2, ...

NAME/versions/v1/manifest.json   beside the published files
NAME/latest                      link to the newest version, for other tools
NAME/removed/v1/manifest.json    of a version that was removed (`storage.retention`)

A version is prepared under a temporary name and moved into place with one rename, which fails if
the target exists. So no version is ever overwritten or seen half-written, and of two publishers at
the same time the second takes the next number. The latest version is the one with the highest
number.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from storage import documents, files
from storage.checksums import StoredFile
from storage.damage import warn_left_out
from storage.errors import Damaged, NotFound
from storage.holds import Hold
from storage.places import shown
from storage.tags import tags

MANIFEST = "manifest.json"
REMOVED = "removed"


@dataclass(frozen=True)
class Version(ABC):
    """One published version: a folder that never changes again."""

    path: Path

    @property
    def name(self) -> str:
        """The name of the dataset or policy."""
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        """Its number, e.g. ``v3``."""
        return self.path.name

    @property
    def number(self) -> int:
        return int(self.version[1:])

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    NOUN: ClassVar[str]
    """What it is a version of, for messages."""
    NEEDED: ClassVar[tuple[str, ...]]
    """Keys that a manifest must have."""

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the version contains and how it was made.

        Raises:
            Damaged: the manifest is missing or was changed.
        """
        path = self.path / MANIFEST
        try:
            manifest = documents.read(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Damaged(path, "is missing") from error
        if lacking := set(self.NEEDED) - set(manifest):
            raise Damaged(path, f"lacks {', '.join(sorted(lacking))}")
        return manifest

    @property
    @abstractmethod
    def stored(self) -> list[StoredFile]:
        """Its files with their size and checksums as recorded when it was published."""

    @property
    @abstractmethod
    def digests(self) -> dict[Path, str]:
        """The recorded SHA-256 of every file."""

    def check_present(self) -> None:
        """Raises Damaged where a file is missing or truncated; reads only the manifest."""
        for file in self.stored:
            file.check_present()

    def fetched(self) -> Path:
        """Its folder, with all files on this machine as they were published. Raises Damaged."""
        try:
            folder = files.fetch_folder(self.path)
            for path, digest in self.digests.items():
                if not _is_whole(path, digest, _state(path)):
                    raise Damaged(path, "is not what was published")
        except FileNotFoundError as error:
            raise Damaged(Path(error.filename or error.args[0]), "is missing") from error
        return folder

    def hold(self) -> None:
        """Keep other processes from removing the version as long as this object lives.

        Raises NotFound if it was removed meanwhile. Of damage `check_present` tells.
        """
        try:
            self.__dict__["_hold"] = Hold(self.path / MANIFEST)
        except OSError as error:
            if was_removed(self.path.parents[1], self.version):
                raise NotFound(f"{self} was removed", f"tirgen {self.NOUN} list") from error

    def damaged_files(self) -> list[Path]:
        """The files that are missing or whose content has changed."""
        try:
            digests = self.digests
        except Damaged as damage:
            return [damage.path]
        return [path for path, digest in digests.items() if not files.is_intact(path, digest)]


def _state(path: Path) -> tuple[int, int, int]:
    """Changes whenever the file is written."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@cache
def _is_whole(path: Path, digest: str, _state: tuple[int, int, int]) -> bool:
    """Whether a file has this SHA-256; read once by each process."""
    return files.sha256(path) == digest


V = TypeVar("V", bound=Version)


def every(thing: Path, kind: type[V], where: str = "versions") -> list[V]:
    """All published versions below a folder, oldest first, damaged ones included.

    With `where` = `REMOVED` those that were removed: of these only the manifests are left.
    """
    files.update(thing)
    folders = (thing / where).glob("v*")
    numbered = [(int(p.name[1:]), p) for p in folders if re.fullmatch(r"v[1-9]\d*", p.name)]
    return [kind(path) for _, path in sorted(numbered)]


def versions(thing: Path, kind: type[V]) -> list[V]:
    """The same without damaged ones, each of which is warned about. Rows are not read."""
    return list(whole(every(thing, kind)))


def whole(found: Iterable[V]) -> Iterator[V]:
    """The versions that pass `check_present`; a warning is logged for each other."""
    for version in found:
        try:
            version.check_present()
        except Damaged as damage:
            warn_left_out(damage)
        else:
            yield version


def find(thing: Path, reference: str, kind: type[V], hint: str) -> V:
    """The version that ``name@v3`` or ``name@TAG`` names, or the latest for ``name``.

    It may be damaged.

    `hint` says what to do where nothing of that name is published.

    Raises:
        NotFound: nothing of that name is published, or not that version.
    """
    name, _, wanted = reference.partition("@")
    published = every(thing, kind)
    if not published:
        raise NotFound(
            f"no {kind.NOUN} {name!r} is published in {shown(thing.parent.parent)}", hint
        )
    number = tags(thing).get(wanted, wanted)
    found = [version for version in published if number in ("", version.version)]
    if not found and any(number == one.version for one in every(thing, kind, REMOVED)):
        hint = f"others: tirgen {kind.NOUN} show {name}"
        raise NotFound(f"{name}@{number} was removed by tirgen {kind.NOUN} gc", hint)
    if not found:
        known = ", ".join(version.version for version in published)
        raise NotFound(
            f"{kind.NOUN} {name!r} has no version {wanted!r}",
            f"it has {known}: tirgen {kind.NOUN} show {name}",
        )
    return found[-1]


def was_removed(thing: Path, version: str) -> bool:
    """Whether a version, e.g. ``v3``, was there and is not any more."""
    files.update(thing)
    return (thing / REMOVED / version / MANIFEST).exists() and not (
        thing / "versions" / version
    ).exists()


@contextmanager
def preparing(thing: Path) -> Iterator[Path]:
    """An empty folder to fill. No reader sees it; it is removed unless it was placed."""
    files.make_folder(thing / "versions")
    with files.temporary_for(thing / "versions" / "version") as prepared:
        prepared.mkdir()
        yield prepared


def place(
    thing: Path, prepared: Path, describe: Callable[[str | None], dict[str, Any]], kind: type[V]
) -> V:
    """Make a prepared folder the next version.

    `describe` returns its manifest from the name of the version before it, or None. The number
    is added here.
    """
    while True:
        existing = every(thing, kind)
        previous = existing[-1].version if existing else None
        version = f"v{int(previous[1:]) + 1 if previous else 1}"
        manifest = {**describe(previous), "version": version}
        (prepared / MANIFEST).write_bytes(documents.dump(manifest, indent=2) + b"\n")
        path = thing / "versions" / version
        if files.place_new_folder(prepared, path):
            break
    _move_latest(thing, kind)
    return kind(path)


def _move_latest(thing: Path, kind: type[Version]) -> None:
    """Point `latest` at the newest version; repeat if another publisher was faster."""
    while True:
        newest = every(thing, kind)[-1]
        files.point_to(thing / "latest", f"versions/{newest.version}")
        if every(thing, kind)[-1] == newest:
            return
