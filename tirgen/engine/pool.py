"""Sends each request to one of the replicas of a model, and again when that fails.

A trajectory's requests stay on one replica, which has their prefix in its cache. A new trajectory
goes where its first answer is expected soonest: by the requests there, and by how fast they are
answered. A replica that fails, or that takes `SLOW` times as long as the others, loses its
trajectories to the others and is tried again later. Nothing is lost by that: a prompt holds all
that a replica needs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from tirgen.engine.errors import EngineError, EngineUnavailable
from tirgen.engine.gate import Gate, loop_time
from tirgen.engine.live_trajectory import LiveTrajectory
from tirgen.engine.retry import RetryPolicy, Transient, Trouble

T = TypeVar("T")
C = TypeVar("C")

LOGGER = logging.getLogger(__name__)
FIRST_WARNING = 30.0
"""Seconds without an answer after which a warning is logged; each later one takes twice as long."""
SLOW = 3.0
"""A replica whose answers take this many times as long as those of the others is left."""
_EVEN = 1.5
"""Differences in speed below this are taken for chance."""
_NEWEST = 0.1
"""Weight of the newest answer in the average time of an answer."""
_RATED = 10
"""Answers after which a replica's speed is compared with that of others."""


async def fit(client: object) -> None:
    """A replica is used again without a question."""


@dataclass(slots=True, eq=False)
class Replica(Generic[C]):
    """One server of the model, as one role uses it."""

    client: C
    gate: Gate
    name: str = ""
    """For provenance and messages: the server's address."""
    check: Callable[[C], Awaitable[None]] = fit
    """Asks a server that was lost whether it still serves what it did. Raises `Transient` where it
    does not answer, `EngineError` where it does not."""
    seconds: float = 0.0
    """Average time of an answer, of the newest ones most."""
    answers: int = 0

    def took(self, seconds: float) -> None:
        self.answers += 1
        self.seconds += (seconds - self.seconds) * max(_NEWEST, 1 / self.answers)

    @property
    def rated(self) -> float | None:
        """`seconds` if there are enough answers to compare replicas by."""
        return self.seconds if self.answers >= _RATED else None


class Answered(NamedTuple, Generic[T]):
    """The result of a request."""

    result: T
    seconds: float
    """All tries and the waits between them, without the first wait for a free place."""
    replica: str
    """The name of the replica that answered."""


class Pool(Generic[C]):
    """The replicas of one model."""

    def __init__(self, replicas: Sequence[Replica[C]], policy: RetryPolicy) -> None:
        self.replicas = tuple(replicas)
        self._policy = policy
        self._silent_since: float | None = None
        """When a try first failed after the last answer."""
        self._next_warning = FIRST_WARNING

    @classmethod
    def of(cls, client: C, policy: RetryPolicy, concurrency: int = 1) -> Pool[C]:
        """A single server."""
        return cls([Replica(client, Gate(concurrency, policy.pauses))], policy)

    async def run(self, attempt: Callable[[C], Awaitable[T]]) -> Answered[T]:
        """Await `attempt` on one of the clients until it does not raise `Transient`.

        Raises `EngineUnavailable` when tries or time run out, and what `attempt` raises.
        """
        trajectory = LiveTrajectory.current()
        with trajectory.at(None):
            return await self._tried(attempt, trajectory)

    async def _tried(
        self, attempt: Callable[[C], Awaitable[T]], trajectory: LiveTrajectory
    ) -> Answered[T]:
        tries = failed = 0
        first: float | None = None
        last: Replica[C] | None = None
        while True:
            last = await self._place(trajectory, last)
            started = loop_time()
            first = started if first is None else first
            try:
                result = await self._timed(last, attempt)
            except Transient as failure:
                tries += 1
                failed += failure.trouble in _COUNTED
                self._note(last, failure, started)
                delay = self._delay(failed, failure)
                self._give_up(failure, tries, failed, first, delay)
            else:
                last.gate.answered(started)
                last.took(loop_time() - started)
                trajectory.kept[self] = last
                self._heard()
                return Answered(result, loop_time() - first, last.name)
            finally:
                last.gate.leave()
            if delay:
                await asyncio.sleep(delay)

    async def _place(self, trajectory: LiveTrajectory, last: Replica[C] | None) -> Replica[C]:
        """A replica with a place for the request, which has to be given back."""
        while True:
            replica = self._choice(trajectory, last)
            if await replica.gate.enter(trajectory):
                return replica

    def _choice(self, trajectory: LiveTrajectory, last: Replica[C] | None) -> Replica[C]:
        """`last` has just failed the request; another one is better, if there is one."""
        if len(self.replicas) == 1:
            return self.replicas[0]
        found = [r for r in self.replicas if r.gate.is_open and r is not last]
        if not found:
            return min(self.replicas, key=lambda r: (r.gate.opens_at, r is last))
        fastest = min((r.rated for r in found if r.rated), default=None)
        kept: Replica[C] | None = trajectory.kept.get(self)
        if kept in found and _slowness(kept, fastest) <= SLOW:
            return kept

        def expected(replica: Replica[C]) -> float:
            gate, slower = replica.gate, _slowness(replica, fastest)
            load = (gate.in_flight + gate.waiting + 1) / gate.window
            return load * (slower if slower > _EVEN else 1.0)

        return min(found, key=expected)

    async def _timed(self, replica: Replica[C], attempt: Callable[[C], Awaitable[T]]) -> T:
        limit = asyncio.timeout(self._policy.try_seconds)
        gate = replica.gate
        gate.watch(limit)
        try:
            async with limit:
                if gate.suspect:
                    await self._check(replica)
                return await attempt(replica.client)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if not gate.unwatch(limit):
                raise Transient("The server is gone.", trouble=Trouble.UNREACHABLE) from error
            raise Transient(
                f"No answer within {self._policy.try_seconds:g} s.", trouble=Trouble.LATE
            ) from error
        finally:
            gate.unwatch(limit)

    async def _check(self, replica: Replica[C]) -> None:
        try:
            await replica.check(replica.client)
        except EngineError as error:
            raise Transient(
                f"It came back as another server: {error}", trouble=Trouble.UNREACHABLE
            ) from error
        replica.gate.suspect = False

    def _note(self, replica: Replica[C], failure: Transient, started: float) -> None:
        """Tell the gate what the failure says about the server."""
        asked = min(failure.retry_after or 0.0, self._policy.total_seconds)
        match failure.trouble:
            case Trouble.LIMITED:
                replica.gate.limited(started, asked)
            case Trouble.BUSY:
                replica.gate.overloaded(started)
                replica.gate.failed(asked, connection=False)
            case Trouble.UNREACHABLE:
                replica.gate.failed(asked, connection=True)
            case Trouble.LATE:
                replica.gate.overloaded(started)
            case Trouble.FAILED:
                replica.gate.refusals += 1
        if not replica.gate.is_open and any(other.gate.is_open for other in self.replicas):
            replica.gate.send_away()
        self._warn(failure)

    def _delay(self, failed: int, failure: Transient) -> float:
        """Seconds that only this request waits: other failures close the gate for all."""
        if failure.trouble in _COUNTED:
            return max(self._policy.pauses.after(failed), failure.retry_after or 0.0)
        return 0.0

    def _give_up(
        self, failure: Transient, tries: int, failed: int, first: float, delay: float
    ) -> None:
        """Raises `EngineUnavailable` where another try would come too late."""
        now = loop_time()
        waited = now - first
        silent = now - (now if self._silent_since is None else self._silent_since)
        patience = self._policy.seconds(failure)
        gone = silent if failure.trouble in (Trouble.UNREACHABLE, Trouble.BUSY) else 0.0
        pause = max(0.0, delay, min(replica.gate.opens_at for replica in self.replicas) - now)
        asked = failure.retry_after or 0.0
        late = max(waited, gone) + max(pause, asked if len(self.replicas) == 1 else 0) > patience
        if failed < self._policy.max_tries and not late:
            return
        error = EngineUnavailable(
            f"Gave up after {tries} tries and {waited:.0f} s: {failure} Check that the "
            "engine is up and not overloaded, then run the same command again."
        )
        error.__cause__ = failure
        if late and max(silent + pause, asked) > patience:
            for replica in self.replicas:
                replica.gate.give_up(error)
        raise error

    def _warn(self, failure: Transient) -> None:
        """Log, at growing intervals, that the engine gives no answer and requests wait."""
        now = loop_time()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if (silent := now - self._silent_since) < self._next_warning:
            return
        self._next_warning = 2 * silent
        LOGGER.warning(
            "no request was answered for %.0f s: %s Each request waits for at most %.0f s.",
            silent, failure, self._policy.seconds(failure),
        )  # fmt: skip

    def _heard(self) -> None:
        if self._next_warning > FIRST_WARNING:
            LOGGER.warning("the engine answers again")
        self._silent_since, self._next_warning = None, FIRST_WARNING


_COUNTED = (Trouble.FAILED, Trouble.LATE)
"""Failures of which a request bears `RetryPolicy.max_tries`."""


def _slowness(replica: Replica[C], fastest: float | None) -> float:
    """How many times as long as the fastest replica this one takes; 1 if that is not known."""
    return replica.rated / fastest if replica.rated and fastest else 1.0
