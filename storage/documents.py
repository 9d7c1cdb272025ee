"""Small JSON documents, each with its own fingerprint, by which any change of it is noticed.

So the store writes and reads whatever is no table: configurations, manifests, tags, leases, notes,
and the lines of logs, ledgers and histories. The fingerprint is one more key, so a document stays
plain JSON for other programs. Documents of an earlier tirgen have none; they are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from storage.errors import Damaged

KEY = "fingerprint"
"""Key of a document's own fingerprint."""


def fingerprint(document: Any) -> str:
    """Names a JSON document by its content: 16 hexadecimal digits of a SHA-256."""
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dump(document: Mapping[str, Any], indent: int | None = None) -> bytes:
    """A document as JSON, its fingerprint last; in one line unless it is indented."""
    as_read = json.loads(json.dumps(document))  # whose keys are text
    return json.dumps({**as_read, KEY: fingerprint(as_read)}, indent=indent).encode()


def parse(content: bytes) -> dict[str, Any]:
    """A document from its JSON. Raises ValueError, with the reason, where it was changed."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError("is no JSON object")
    if KEY in document:
        whole = document.pop(KEY) == fingerprint(document)
    else:
        whole = not _ends_with_its_fingerprint(document)
    if not whole:
        raise ValueError("is not what was written: its fingerprint differs")
    return document


def _ends_with_its_fingerprint(document: dict[str, Any]) -> bool:
    """Whether its last value is the fingerprint of the rest: the name of that key was changed."""
    *rest, (_, last) = [*document.items()] or [("", "")]
    return bool(fingerprint(dict(rest)) == last)


def read(path: Path) -> dict[str, Any]:
    """The document in a file.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
        Damaged: the file cannot be read, or is not what was written.
    """
    content = _content(path)
    try:
        return parse(content)
    except ValueError as error:
        raise Damaged(path, str(error)) from error


def lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The documents of a file that has one in each line, each with its line.

    What follows the last line break is left out: a killed process leaves half a line there. Raises
    as `read` does.
    """
    *complete, rest = _content(path).split(b"\n")
    if _is_whole(rest[:-1]):  # the line break was changed
        complete.append(rest)
    for number, line in enumerate(complete, 1):
        try:
            yield line, parse(line)
        except ValueError as error:
            raise Damaged(path, f"is not what was written in line {number}") from error


def _is_whole(content: bytes) -> bool:
    try:
        parse(content)
    except ValueError:
        return False
    return True


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # no damage: it is not there
        raise
    except OSError as error:
        raise Damaged(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
