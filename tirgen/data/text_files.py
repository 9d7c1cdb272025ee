"""Text files opened for reading: decompressed by their ending, their encoding named where wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from tirgen.data.errors import ProblemsError

COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4")
"""Endings that stand behind the format's own, as in ``x.jsonl.gz``; pyarrow reads them."""
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def format_of(path: Path) -> str:
    """The ending that says the format: ``.jsonl`` of ``x.jsonl.gz``."""
    plain = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return plain.suffix.lower()


def stem_of(path: Path) -> str:
    """The name without the endings of format and compression."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path).stem


def open_bytes(path: Path) -> IO[bytes]:
    """The decompressed content, from its beginning.

    Raises `ProblemsError` for UTF-16, whose line breaks are not those of other text, and OSError
    where it cannot be read or decompressed.
    """
    if path.suffix.lower() in COMPRESSIONS:
        raw: Any = pa.input_stream(str(path), compression="detect")
        file = io.BufferedReader(raw)
    else:
        file = path.open("rb")
    head = file.peek(64)[:64]
    name = _MARKS.get(head[:2]) or ("UTF-16" if _alternates_with_zeros(head) else None)
    if name:
        file.close()
        raise ProblemsError(
            f"{path} is {name}, not UTF-8; convert it: iconv -f {name} -t UTF-8 {path.name}"
        )
    return file


def open_text(path: Path) -> IO[str]:
    """As `open_bytes`, as text with its line breaks as they are.

    Bytes that are not UTF-8 become lone surrogates, for `encoding_fault` to find.
    """
    return io.TextIOWrapper(
        open_bytes(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )


def encoding_fault(line: bytes) -> str:
    """What to say of bytes that are not UTF-8; the encoding by name where it is likely."""
    try:
        line.decode("cp1252")
    except UnicodeDecodeError:
        return "is not UTF-8"
    return "is not UTF-8 but likely CP1252 (Windows); convert the file: iconv -f CP1252 -t UTF-8"


def _alternates_with_zeros(head: bytes) -> bool:
    """ASCII in UTF-16 without a mark: every other byte is zero."""
    return len(head) >= 4 and (not any(head[0::2]) or not any(head[1::2]))
