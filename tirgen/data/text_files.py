"""Opens text files: decompresses them by their ending and names a wrong encoding."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from tirgen.data.errors import ProblemsError

COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4")
"""Endings after that of the format, as in ``x.jsonl.gz``; pyarrow reads them."""
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def format_of(path: Path) -> str:
    """The ending of the format: ``.jsonl`` of ``x.jsonl.gz``."""
    plain = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return plain.suffix.lower()


def stem_of(path: Path) -> str:
    """The name without the endings of format and compression."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path).stem


def open_bytes(path: Path) -> IO[bytes]:
    """Open the decompressed content.

    Raises `ProblemsError` for UTF-16, which has other line breaks, and OSError where the file
    cannot be read or decompressed.
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
    """Open the decompressed content as text, with its line breaks unchanged.

    Bytes that are not UTF-8 become lone surrogates, for `encoding_fault` to find.
    """
    return io.TextIOWrapper(
        open_bytes(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )


def encoding_fault(line: bytes) -> str:
    """The message for bytes that are not UTF-8; it names the likely encoding."""
    try:
        line.decode("cp1252")
    except UnicodeDecodeError:
        return "is not UTF-8"
    return "is not UTF-8 but likely CP1252 (Windows); convert the file: iconv -f CP1252 -t UTF-8"


def _alternates_with_zeros(head: bytes) -> bool:
    """Whether every other byte is zero: ASCII in UTF-16 without a byte order mark."""
    return len(head) >= 4 and (not any(head[0::2]) or not any(head[1::2]))
