"""How much one server is asked: requests in flight, starts per second, and pauses.

The server's answers decide. An answer raises the number in flight by one for each round of answers
(at first it doubles); a timeout, a 503 and a growing queue of the server cut it (AIMD, as in TCP).
A rate limit (429) says nothing about the number in flight, so it sets a pace instead: seven tenths
of the rate that was refused, which then grows as in CUBIC: back to that rate, a while near it, and
then faster and faster until the next refusal. Requests in flight when a limit was cut do not cut it
again.

Among the requests that wait, that of the oldest trajectory goes first, so trajectories that are
begun and paid for are finished before others take their place, whatever their role.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tirgen.engine.live_trajectory import LiveTrajectory

FIRST_WINDOW = 64
"""Requests in flight at first, if the setting allows as many."""
WINDOW_CUT = 0.5
RATE_CUT = 0.7
RATE_SECONDS = 30.0
"""After this time without a refusal the rate is back where it was refused."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long a server is left alone after a failure: doubled each time, half of it random."""

    first: float = 0.5
    longest: float = 30.0

    def after(self, failures: int) -> float:
        """Seconds after so many failures in a row."""
        pause = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return pause * random.uniform(0.5, 1.0)


USUAL = Pauses()


class Gate:
    """Admits requests to one server; roles that use the same server share its gate."""

    def __init__(self, ceiling: int, pauses: Pauses = USUAL) -> None:
        """`ceiling`: most requests in flight."""
        self.ceiling = ceiling
        self.window: float = min(ceiling, FIRST_WINDOW)
        """Requests in flight that the server bears now."""
        self.in_flight = 0
        self.refusals = 0
        """Requests that the server refused or that failed, over all time."""
        self.suspect = False
        """The connection was lost: the server may have been started again with another model."""
        self.heard_at = loop_time()
        """Last sign of life."""
        self._pauses = pauses
        self._opens_at = self._paced_until = 0.0
        self._failures = 0
        self._cut_at = 0.0
        self._threshold: float = ceiling
        self._crowded = False
        self._refused_rate: float | None = None
        """Starts per second at which the rate limit was last met."""
        self._answers: deque[float] = deque(maxlen=64)
        """When the newest answers came."""
        self._waiting: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Timeout] = set()

    def raise_ceiling(self, more: int) -> None:
        """Another role uses the server too, with so many more requests at most."""
        self.ceiling += more
        self.window = min(self.ceiling, self.window + min(more, FIRST_WINDOW))
        self._threshold = self.ceiling

    @property
    def opens_at(self) -> float:
        """When the pause after a failure ends, on the event loop's clock; in the past without."""
        return self._opens_at

    @property
    def is_open(self) -> bool:
        """The server is not left alone after a failure."""
        return loop_time() >= self._opens_at and not (self._failures and self.in_flight)

    @property
    def waiting(self) -> int:
        """Requests that wait here for a place."""
        return len(self._waiting)

    @property
    def slots(self) -> int:
        """The whole number of requests that may be in flight."""
        return max(1, int(self.window))

    @property
    def held_back(self) -> bool:
        """Free places are not given out now: a pause after a failure, or the pace."""
        return self._free and loop_time() < max(self._opens_at, self._paced_until)

    async def enter(self, trajectory: LiveTrajectory) -> bool:
        """Wait for a place; False if the server failed meanwhile and another may take the request.

        Whoever enters leaves by `leave`. Raises what `give_up` was given.
        """
        if not self._waiting and self._admits():
            self._start()
            return True
        given: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (trajectory.age, next(self._order), given))
        self._wake()
        try:
            with trajectory.queueing():
                return await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled() and not given.exception() and given.result():
                self.leave()  # it was given too late: pass it on
            raise

    def leave(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        self._wake()

    def watch(self, limit: asyncio.Timeout) -> None:
        """`lost` ends the request with this time limit; `unwatch` when it is over."""
        self._running.add(limit)

    def unwatch(self, limit: asyncio.Timeout) -> bool:
        """Whether `lost` did not end it."""
        watched = limit in self._running
        self._running.discard(limit)
        return watched

    def answered(self, started: float) -> None:
        """A request that started then was answered."""
        self.heard_at = now = loop_time()
        self._failures = 0
        self.suspect = False
        self._answers.append(now)
        if not self._crowded and self.in_flight > self.window / 2:
            more = 1.0 if self.window < self._threshold else 1 / self.window
            self.window = min(self.ceiling, self.window + more)

    def limited(self, started: float, retry_after: float = 0.0) -> None:
        """The server refused a request that started then, because of its rate limit."""
        self.heard_at = now = loop_time()
        self.refusals += 1
        if started >= self._cut_at:
            if self._answers and self._answers[-1] > self._cut_at:
                self._refused_rate = min(self._rate(now), self._answered_rate(now))
            self._cut_at = now
            self._failures += 1
            retry_after = retry_after or self._pauses.after(self._failures)
        self._pause(retry_after)

    def overloaded(self, started: float) -> None:
        """A request that started then was not answered in time, or refused for the load."""
        self.refusals += 1
        if started >= self._cut_at:
            self._cut_at = loop_time()
            self.window = self._threshold = max(1.0, self.window * WINDOW_CUT)

    def crowded(self, running: float, waiting: float) -> None:
        """The server says how many requests it works on, and how many wait inside of it.

        A short queue keeps it busy; a longer one only delays answers.
        """
        self.heard_at = loop_time()
        self._crowded = waiting > 2 + running / 10
        if self._crowded and running:
            share = running / (running + waiting)
            self.window = self._threshold = max(1.0, min(self.window, self.in_flight) * share)

    def failed(self, retry_after: float = 0.0, *, connection: bool) -> None:
        """Leave the server alone for a while."""
        self.refusals += 1
        self.suspect |= connection
        if loop_time() >= self._opens_at:  # else of the same failure
            self._failures += 1
        self._pause(retry_after or self._pauses.after(self._failures))

    def lost(self) -> None:
        """The server is gone without a word: end what it was asked, and leave it alone."""
        for limit in self._running:
            limit.reschedule(0.0)
        self._running.clear()

    def send_away(self) -> None:
        """Let what waits here choose again."""
        for given in self._emptied():
            given.set_result(False)

    def give_up(self, error: Exception) -> None:
        """Fail what waits here, as the request did that found the server gone for too long."""
        for given in self._emptied():
            given.set_exception(error)

    def _emptied(self) -> list[asyncio.Future[bool]]:
        waiting, self._waiting = self._waiting, []
        return [given for _, _, given in waiting if not given.done()]

    @property
    def pace(self) -> float:
        """Seconds between two starts; 0 without a rate limit."""
        return 1 / self._rate(loop_time())

    def _rate(self, now: float) -> float:
        """Starts per second that the rate limit seems to allow."""
        if self._refused_rate is None:
            return math.inf
        time = max(0.0, now - self._opens_at) / RATE_SECONDS - 1
        return self._refused_rate * (1 + (1 - RATE_CUT) * time**3)

    def _answered_rate(self, now: float) -> float:
        """Answers per second since the oldest of the newest ones."""
        return len(self._answers) / max(1.0, now - self._answers[0])

    def _pause(self, seconds: float) -> None:
        self._opens_at = max(self._opens_at, loop_time() + seconds)

    @property
    def _free(self) -> bool:
        """After a failure one request at a time finds out whether the server works again."""
        return self.in_flight < (1 if self._failures else self.slots)

    def _admits(self) -> bool:
        return self._free and loop_time() >= max(self._opens_at, self._paced_until)

    def _start(self) -> None:
        self.in_flight += 1
        if self._refused_rate is not None:
            self._paced_until = loop_time() + self.pace

    def _wake(self) -> None:
        """Admit what may start now, and look again when a pause ends."""
        while self._waiting and self._admits():
            _, _, given = heapq.heappop(self._waiting)
            if not given.done():
                self._start()
                given.set_result(True)
        opens = max(self._opens_at, self._paced_until)
        if self._waiting and self._free and opens > loop_time():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(opens, self._wake)


def loop_time() -> float:
    """The time on the event loop's clock."""
    return asyncio.get_running_loop().time()
