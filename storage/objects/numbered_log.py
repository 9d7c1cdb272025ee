"""The log of a run in a bucket: numbered objects, each written if its number is still free.

    log/datasets/NAME/runs/HASH/000000000007.json      the seventh line of the log

The mirror's ``log.jsonl`` has the same lines, each with its number ``n``. So what is missing there
is one listing behind the last number, and a number that is missing in the bucket is noticed. A
writer puts its line under the next number; if that is taken it reads what others have written and
tries the next one. No object of a log is ever removed, so no number is ever used twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from storage import documents
from storage.disk import Disk
from storage.errors import Damaged
from storage.objects.bucket import Bucket

_TAIL = 1 << 16
"""Bytes at the end of a mirrored log in which its last line is looked for first."""
_DISK = Disk()


class NumberedLog:
    """The log of one run, and its mirror in a file; the caller holds a lock on the mirror."""

    def __init__(self, bucket: Bucket, prefix: str, mirror: Path) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._mirror = mirror

    def append(self, line: str) -> None:
        """Commit a line; when this returns, it is in the bucket."""
        entry = documents.parse(line.encode())
        while True:
            number = self._last() + 1
            numbered = documents.dump({**entry, "n": number})
            if self._bucket.put_new(self._key(number), numbered):
                self._write([numbered])
                return
            self.catch_up()

    def catch_up(self) -> None:
        """Bring the mirror up to date. Raises Damaged where a line is missing or was changed."""
        last = self._last()
        listed = self._bucket.list(self._prefix, after=self._key(last))
        for number, found in enumerate(listed, last + 1):
            if found.key != self._key(number):
                raise Damaged(self._mirror, f"lacks line {number} in the bucket")
        contents = self._bucket.read_all(found.key for found in listed)
        self._write(self._verified(key, content) for key, content, _ in contents)

    def _verified(self, key: str, content: bytes) -> bytes:
        try:
            return documents.dump(documents.parse(content))
        except ValueError as error:
            why = f"has a line in the bucket, {key.removeprefix(self._prefix)}, that {error}"
            raise Damaged(self._mirror, why) from error

    def _write(self, lines: Iterable[bytes]) -> None:
        text = b"\n\n".join(lines).decode()
        if text:
            _DISK.append_line(self._mirror, text, synced=True)

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number:012d}.json"

    def _last(self) -> int:
        """The number of the last line of the mirror."""
        with self._mirror.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            for start in (max(0, size - _TAIL), 0):
                log.seek(start)
                for line in reversed(log.read().split(b"\n")[1 if start else 0 :]):
                    try:
                        return int(documents.parse(line)["n"])
                    except (ValueError, KeyError):
                        continue
        return 0
