"""Tags: names that people give to versions, taken wherever a version is named, as ``demo@gold``.

NAME/tags/gold.json     the version that the tag names, e.g. {"version": "v3"}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from storage import documents, files, names
from storage.damage import warn_ignored
from storage.errors import Damaged, InvalidName

FOLDER = "tags"
_SUFFIX = ".json"
_NUMBER = re.compile(r"v\d+")


def tags(thing: Path) -> dict[str, str]:
    """The tags below the folder of a dataset: tag to the name of its version, by tag.

    Raises Damaged where the file of one was changed.
    """
    return {_name(path): str(documents.read(path)["version"]) for path in _files(thing)}


def readable_tags(thing: Path) -> dict[str, str]:
    """The same, for people to look at: a damaged one is left out and warned about."""
    found = {}
    for path in _files(thing):
        try:
            found[_name(path)] = str(documents.read(path)["version"])
        except Damaged as damage:
            warn_ignored(damage)
    return found


def set_tag(thing: Path, tag: str, version: str) -> None:
    """Let a tag name a version, whatever it named before.

    Raises:
        InvalidName: the tag could be taken for the number of a version, or is no safe file name.
    """
    if _NUMBER.fullmatch(names.safe(tag, "tag")):
        raise InvalidName(f"{tag!r} cannot be a tag", "it is the name of a version; choose a word")
    files.make_folder(thing / FOLDER)
    files.write_atomic(thing / FOLDER / f"{tag}{_SUFFIX}", documents.dump({"version": version}))


def remove_tag(thing: Path, tag: str) -> None:
    """Remove a tag; nothing happens if there is none of this name."""
    files.remove(thing / FOLDER / f"{names.safe(tag, 'tag')}{_SUFFIX}")


def _files(thing: Path) -> Iterator[Path]:
    return (path for path in names.folders(thing / FOLDER) if path.suffix == _SUFFIX)


def _name(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX)
