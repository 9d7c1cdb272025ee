"""Names that may become folders of the store."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from storage.errors import InvalidName

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def folders(parent: Path) -> list[Path]:
    """What lies below a folder under names that are ours, by name; what else lies there is not."""
    return sorted(path for path in parent.glob("*") if _SAFE.fullmatch(path.name))


def safe(name: str, what: str) -> str:
    """The name itself.

    Raises:
        InvalidName: it could lead out of its folder, or some file system could not hold it.
    """
    if not _SAFE.fullmatch(name):
        hint = "use letters, digits, dot, dash and underscore, beginning with a letter or digit"
        raise InvalidName(f"{name!r} cannot be a {what}", hint)
    return name


def fingerprint(document: Any) -> str:
    """Names a JSON document by its content: 16 hexadecimal digits of a SHA-256."""
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
