"""Notes on their way to the bucket: files that change often and that no decision rests on."""

from __future__ import annotations

import atexit
import math
import threading
from collections.abc import Callable
from pathlib import Path

from storage.damage import warn_once
from storage.errors import ObjectStoreError

SECONDS = 10.0
"""Between two uploads of what has changed; so much is lost with the machine."""

LARGE_BYTES = 1 << 18
"""A larger file, which is written again as a whole each time, waits for the end of the process."""


class Uploads:
    """Uploads each file that was added, every `SECONDS` and at the end of the process."""

    def __init__(self, upload: Callable[[Path], None]) -> None:
        self._upload = upload
        self._lock = threading.Lock()
        self._waiting: dict[Path, None] = {}
        self._thread: threading.Thread | None = None

    def add(self, path: Path) -> None:
        with self._lock:
            self._waiting[path] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
                self._thread.start()
                atexit.register(self.flush)

    def flush(self, most_bytes: float = math.inf) -> None:
        """Upload what waits and is no larger. What fails is warned about, and waits again."""
        with self._lock:
            waiting = [path for path in self._waiting if _size(path) <= most_bytes]
            for path in waiting:
                del self._waiting[path]
        for place, path in enumerate(waiting):
            try:
                self._upload(path)
            except (ObjectStoreError, OSError) as error:
                with self._lock:
                    self._waiting = dict.fromkeys(waiting[place:]) | self._waiting
                warn_once("uploads", f"notes of this process are not uploaded: {error}")
                return

    def _work(self) -> None:
        pause = threading.Event()
        while not pause.wait(SECONDS):
            self.flush(LARGE_BYTES)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
