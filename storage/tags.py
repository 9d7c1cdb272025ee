"""Tags: names that people give to versions, taken wherever a version is named, as ``demo@gold``.

NAME/tags/gold     link to a version, e.g. ../versions/v3
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from storage import files, names
from storage.errors import InvalidName

FOLDER = "tags"
_NUMBER = re.compile(r"v\d+")


def tags(thing: Path) -> dict[str, str]:
    """The tags below the folder of a dataset: tag to the name of its version, by tag."""
    links = names.folders(thing / FOLDER)
    return {link.name: Path(os.readlink(link)).name for link in links if link.is_symlink()}


def set_tag(thing: Path, tag: str, version: str) -> None:
    """Let a tag name a version, whatever it named before.

    Raises:
        InvalidName: the tag could be taken for the number of a version, or is no safe file name.
    """
    if _NUMBER.fullmatch(names.safe(tag, "tag")):
        raise InvalidName(f"{tag!r} cannot be a tag", "it is the name of a version; choose a word")
    files.make_folder(thing / FOLDER)
    files.point_to(thing / FOLDER / tag, f"../versions/{version}")


def remove_tag(thing: Path, tag: str) -> None:
    """Remove a tag; nothing happens if there is none of this name."""
    if tag in tags(thing):
        files.remove(thing / FOLDER / tag)
