"""One trajectory in progress as engines see it: its age, its replicas, and what it waits for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from itertools import count
from typing import Any


class Activity(StrEnum):
    """What a trajectory does while it asks no engine."""

    SANDBOX = "sandbox"
    VERIFIER = "verifier"
    STORE = "store"
    """Its row waits to be durable."""
    CLIENT = "client"
    """Everything else: it is about to use the CPU of this process, or does."""


_ages = count()


class LiveTrajectory:
    """One trajectory. Every request that is sent inside `work` belongs to it."""

    def __init__(self, counts: Counter[Activity] | None = None) -> None:
        """`counts` are the trajectories of a job by activity; this one counts in `work`."""
        self.age = next(_ages)
        """Lower is older; of the requests that wait, the oldest trajectory's goes first."""
        self.kept: dict[Hashable, Any] = {}
        """By pool, the replica that holds the trajectory's prefix."""
        self.deadline: float | None = None
        """When the trajectory must end, on the clock of the event loop. A wait for a free place at
        an engine moves it."""
        self._counts = Counter[Activity]() if counts is None else counts
        self._activity: Activity | None = Activity.CLIENT
        self._limit: asyncio.Timeout | None = None

    @staticmethod
    def current() -> LiveTrajectory:
        """The trajectory of this task, or a new one for a request outside of any trajectory."""
        return _CURRENT.get(None) or LiveTrajectory()

    @staticmethod
    @contextmanager
    def joined() -> Iterator[LiveTrajectory]:
        """The trajectory of this task; a new one, for the block, where it has none."""
        if trajectory := _CURRENT.get(None):
            yield trajectory
            return
        trajectory = LiveTrajectory()
        with trajectory.work():
            yield trajectory

    @contextmanager
    def work(self) -> Iterator[None]:
        """Make this the trajectory of the current task."""
        token = _CURRENT.set(self)
        self._counts[Activity.CLIENT] += 1
        try:
            yield
        finally:
            self._counts[Activity.CLIENT] -= 1
            _CURRENT.reset(token)

    @contextmanager
    def at(self, activity: Activity | None) -> Iterator[None]:
        """Count as doing something else; None while an engine has a request of it."""
        before = self._activity
        self._change(activity)
        try:
            yield
        finally:
            self._change(before)

    def _change(self, activity: Activity | None) -> None:
        if self._activity is not None:
            self._counts[self._activity] -= 1
        self._activity = activity
        if activity is not None:
            self._counts[activity] += 1

    @contextmanager
    def bounded_by(self, limit: asyncio.Timeout) -> Iterator[None]:
        """Let `queueing` move this time limit."""
        self._limit = limit
        try:
            yield
        finally:
            self._limit = None

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """A wait for a free place at an engine, which does not count as the trajectory's time."""
        limit, clock = self._limit, asyncio.get_running_loop().time
        if limit is None or self.deadline is None:
            yield
            return
        limit.reschedule(None)
        began = clock()
        try:
            yield
        finally:
            self.deadline += clock() - began
            limit.reschedule(self.deadline)


_CURRENT: ContextVar[LiveTrajectory] = ContextVar("trajectory")
