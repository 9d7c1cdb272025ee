"""Progress of work that only counts: a bar on a terminal, a line now and then off it."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import Progress as Bar

from flows.console import say, stderr
from flows.progress import SECONDS_BETWEEN_LINES


class CountDisplay:
    """Shows done of total; silent until there is something to count."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar = Bar(*Bar.get_default_columns(), console=stderr, transient=True)
        self._task = self._bar.add_task(title, total=None, visible=False)
        self._last_line = time.monotonic()

    def __enter__(self) -> CountDisplay:
        if stderr.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if stderr.is_terminal:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total, visible=True)
        if not stderr.is_terminal and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            say(f"{self._title}: {done}/{total}")
