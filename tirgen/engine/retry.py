"""Which failed requests are tried again and when, and how many run at once."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TypeVar

from storage.well_formed import well_formed
from tirgen.engine.errors import (
    ContextOverflow,
    EngineError,
    EngineMisconfigured,
    EngineRefused,
    EngineUnavailable,
)

T = TypeVar("T")

LOGGER = logging.getLogger(__name__)
FIRST_WARNING = 30.0
"""Seconds without an answer after which a warning is logged; each later one takes twice as long."""


class Trouble(StrEnum):
    """Why one try failed."""

    FAILED = "failed"
    """The server accepted the request and failed."""
    BUSY = "busy"
    """The server asked to wait: a rate limit, or a model that is still loading."""
    UNREACHABLE = "unreachable"
    """There was no connection, or it broke."""


class Transient(Exception):
    """One try failed, and another one can succeed."""

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        trouble: Trouble = Trouble.FAILED,
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the server asked to wait."""
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off with jitter, limited in failed tries and in time."""

    max_tries: int = 10
    """Tries of a request that the server accepted and failed at."""
    try_seconds: float = 600.0
    """Longest time of one try."""
    total_seconds: float = 1800.0
    """No new try starts after that."""
    unreachable_seconds: float | None = None
    """The same without a connection to the server; by default `total_seconds`."""
    first_delay: float = 0.5
    longest_delay: float = 30.0

    def seconds(self, failure: Transient) -> float:
        """How long after the first try another one can start, given why the last one failed."""
        if failure.trouble is Trouble.UNREACHABLE and self.unreachable_seconds is not None:
            return self.unreachable_seconds
        return self.total_seconds

    def delay(self, tries: int, retry_after: float | None) -> float:
        """Seconds to wait after `tries` failures: half fixed, half random, or as asked."""
        backoff = min(self.longest_delay, self.first_delay * 2.0 ** min(tries - 1, 30))
        return max(backoff * random.uniform(0.5, 1.0), retry_after or 0.0)


PROBE_PATIENCE = RetryPolicy(
    max_tries=4, try_seconds=120, total_seconds=180, unreachable_seconds=3, first_delay=0.2
)
"""For the first questions to a server: a person waits to see whether the address is right."""


class Limiter:
    """At most `concurrency` requests to one engine at once, each retried as `RetryPolicy` says."""

    def __init__(self, concurrency: int, policy: RetryPolicy) -> None:
        self._policy = policy
        self._slots = asyncio.Semaphore(concurrency)
        self._silent_since: float | None = None
        """When a try first failed after the last answer."""
        self._next_warning = FIRST_WARNING

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        """Await `attempt()` until it does not raise `Transient`; its result and the seconds taken.

        The seconds include all tries and the waits between them, but not the wait for a free slot.
        A request keeps its slot while it waits, so a busy server gets fewer requests. Raises
        `EngineUnavailable` when tries or time run out.
        """
        async with self._slots:
            started = time.monotonic()
            result = await self._tried(attempt, started)
            return result, time.monotonic() - started

    async def _tried(self, attempt: Callable[[], Awaitable[T]], started: float) -> T:
        tries = failed = 0
        while True:
            try:
                answer = await self._timed(attempt)
            except Transient as failure:
                self._warn(failure)
                tries += 1
                failed += failure.trouble is Trouble.FAILED
                waited = time.monotonic() - started
                delay = self._policy.delay(tries, failure.retry_after)
                late = waited + delay > self._policy.seconds(failure)
                if failed >= self._policy.max_tries or late:
                    raise EngineUnavailable(
                        f"Gave up after {tries} tries and {waited:.0f} s: {failure} Check that the "
                        "engine is up and not overloaded, then run the same command again."
                    ) from failure
            else:
                self._answered()
                return answer
            await asyncio.sleep(delay)

    def _warn(self, failure: Transient) -> None:
        """Log, at growing intervals, that the engine gives no answer and requests wait."""
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if (silent := now - self._silent_since) < self._next_warning:
            return
        self._next_warning = 2 * silent
        LOGGER.warning(
            "no request was answered for %.0f s: %s Each request waits for at most %.0f s.",
            silent, failure, self._policy.seconds(failure),
        )  # fmt: skip

    def _answered(self) -> None:
        if self._next_warning > FIRST_WARNING:
            LOGGER.warning("the engine answers again")
        self._silent_since, self._next_warning = None, FIRST_WARNING

    async def _timed(self, attempt: Callable[[], Awaitable[T]]) -> T:
        limit = asyncio.timeout(self._policy.try_seconds)
        try:
            async with limit:
                return await attempt()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Transient(f"No answer within {self._policy.try_seconds:g} s.") from error


def unreachable(base_url: str, error: EngineUnavailable) -> EngineMisconfigured:
    """The error for a first question to a server that got no answer."""
    last = error.__cause__
    if isinstance(last, Transient) and last.trouble is not Trouble.UNREACHABLE:
        return EngineMisconfigured(
            f"The engine at {base_url} does not answer a test question: {last} Try again when it "
            "is up and not overloaded."
        )
    return EngineMisconfigured(
        f"No engine at {base_url}: {last} Start the server or correct `base_url`."
    )


def failure(status: int, message: str, retry_after: str | None = None) -> Transient | EngineError:
    """The error for an HTTP status other than 200, with the server's message."""
    said = f"HTTP {status}: {well_formed(message) or 'no message'}"
    if status in (408, 425, 429) or status >= 500:
        trouble = Trouble.BUSY if status in (429, 502, 503, 504) else Trouble.FAILED
        return Transient(f"The server answered {said}.", _seconds(retry_after), trouble)
    if status in _ABOUT_THE_ACCOUNT or status == 404 or status < 400:
        what, next_step = _ABOUT_THE_ACCOUNT.get(status, _WRONG_ADDRESS)
        return EngineMisconfigured(f"{what} ({said}); {next_step}.")
    kind = ContextOverflow if _is_overflow(message) else EngineRefused
    return kind(f"The server refused the request ({said}).")


_ABOUT_THE_ACCOUNT = {
    401: (
        "The server asks for a valid key",
        "put it into an environment variable and name that variable in `api_key_env`",
    ),
    402: ("The provider asks for payment", "check the account's credit"),
    403: (
        "The key has no permission for this",
        "check the permissions of the key (`api_key_env`), its project and its region",
    ),
}
"""Statuses that mean the same for every request: the meaning, and what to do."""

_WRONG_ADDRESS = (
    "The server does not have this address or model",
    "check `base_url` (it ends in /v1 for most servers) and `model`",
)


def _is_overflow(message: str) -> bool:
    """Servers have no common error code for it, but all of them name the context."""
    words = message.lower()
    return "context" in words and any(w in words for w in ("length", "maximum", "longer", "exceed"))


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a `Retry-After` header, a number or an HTTP date; None if it is neither."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - time.time())
