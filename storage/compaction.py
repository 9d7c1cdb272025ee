"""Compaction: many small committed files of a run become few large ones while the run goes on.

Neighbouring files are merged in the order of their commits, `FAN_IN` of about the same size at a
time, so that every row is written again only a few times. The merged file contains all their rows,
and one line of the log puts it in their place (`storage.commits`). A killed compactor leaves at
worst a file that no line names.

After many commits it also writes a checkpoint of the log, from which readers begin.

Files that no reader needs any more are removed by age: those that were merged, and orphans and
temporary files of killed writers. Only one process at a time compacts a run.
"""

from __future__ import annotations

import math
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from storage import files
from storage.commits import BATCHES, LOG, Commit, CommitLog, append
from storage.damage import warn_once
from storage.errors import StoreError
from storage.parquet import write_merged

FAN_IN = 64
"""Files that are merged into one."""
MOST_BYTES = 128 << 20
"""Files are merged up to this size."""
CHECKPOINT_COMMITS = 1_024
"""Commits between two checkpoints of the log."""
MERGED_SECONDS = 3600.0
"""How long a merged file is kept for readers that have begun with it."""
ORPHAN_SECONDS = 24 * 3600.0
"""After this time a file without a log line belongs to no living writer."""
_LOCK = "compaction.lock"
_BATCH = re.compile(r"[0-9a-f]{24}\.parquet")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


class Compactor:
    """Compacts the run in a folder."""

    def __init__(self, folder: Path, fan_in: int = FAN_IN) -> None:
        self._fan_in = fan_in
        self.folder = folder
        self._batches = folder / BATCHES
        self._log = CommitLog(folder / LOG)

    def compact(self, go_on: Callable[[], bool] = lambda: True) -> int:
        """Merge what is due and remove what is unused; returns the number of merged files.

        Stops before the next merge once `go_on` is false. Does nothing while another process
        compacts the run. Raises Damaged, SchemaTooNew and OSError.
        """
        merged = 0
        with files.alone(self.folder / _LOCK) as granted:
            if not granted:
                return 0
            self._log.update()
            while groups := list(_due(self._log.commits, self._fan_in)):
                for group in groups:
                    if not go_on():
                        return merged
                    self._merge(group)
                    merged += 1
                self._log.update()
            self._remove_unused()
            self._log.save_checkpoint(CHECKPOINT_COMMITS)
        return merged

    def _merge(self, group: Sequence[Commit]) -> None:
        # Never a name that was used: another machine may be removing that file now.
        path = self._batches / f"{uuid.uuid4().hex[:24]}.parquet"
        append(
            path,
            sum(commit.rows for commit in group),
            partial(write_merged, parts=[commit.file for commit in group]),
            first=group[0].names[0],
            last=group[-1].names[1],
        )

    def _remove_unused(self) -> None:
        needed = {commit.file.name for commit in self._log.commits}
        ages = {path.name: seconds for path, seconds in files.aged(self._batches)}
        for name, age in ages.items():
            if name in needed or not (_BATCH.fullmatch(name) or _TEMPORARY.fullmatch(name)):
                continue
            merged = self._log.replaced.get(name)
            if merged:  # the file that took its place may have been merged and removed since
                age = ages.get(merged.file.name, math.inf)
            if age > (MERGED_SECONDS if merged else ORPHAN_SECONDS):
                files.remove(self._batches / name)


class BackgroundCompactor:
    """Compacts a run in a thread: after `FAN_IN` commits of this process, and when it resumes."""

    def __init__(self, folder: Path) -> None:
        self._compactor = Compactor(folder)
        resumes = (folder / LOG).stat().st_size > 0
        self._commits = FAN_IN if resumes else 0
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """Count a commit, and start the thread where it is time."""
        self._commits += 1
        if self._commits >= FAN_IN and not (self._thread and self._thread.is_alive()):
            self._commits = 0
            self._thread = threading.Thread(target=self._work, name="compactor")
            self._thread.start()

    def wait(self) -> None:
        """Until the thread has finished what it does now."""
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        """The process does not wait for more than one merge at its end."""
        try:
            self._compactor.compact(threading.main_thread().is_alive)
        except (StoreError, OSError, pa.ArrowException) as error:
            warn_once(f"compaction {self._compactor.folder}", f"files are not merged: {error}")


def _due(commits: Sequence[Commit], fan_in: int) -> Iterator[list[Commit]]:
    """Neighbours to be merged: `fan_in` that contain about the same number of commits."""
    for _, alike in groupby(commits, lambda commit: _tier(commit, fan_in)):
        files = list(alike)
        for start in range(0, len(files) - fan_in + 1, fan_in):
            group = files[start : start + fan_in]
            if sum(commit.file.size or 0 for commit in group) <= MOST_BYTES:
                yield group


def _tier(commit: Commit, fan_in: int) -> int:
    """How often the rows of a file were merged."""
    commits, tier = commit.last - commit.first + 1, 0
    while commits >= fan_in:
        commits, tier = commits // fan_in, tier + 1
    return tier
