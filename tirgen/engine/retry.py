"""Which failed requests are tried again, and for how long."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

from storage.well_formed import well_formed
from tirgen.engine.errors import (
    ContextOverflow,
    EngineAbsent,
    EngineError,
    EngineMisconfigured,
    EngineRefused,
    EngineUnavailable,
)
from tirgen.engine.gate import USUAL, Pauses


class Trouble(StrEnum):
    """Why one try failed."""

    FAILED = "failed"
    """The server accepted the request and failed."""
    LATE = "late"
    """The server did not answer in time."""
    LIMITED = "limited"
    """The server's rate limit is reached."""
    BUSY = "busy"
    """The server takes no requests now: it is overloaded, or its model is still loading."""
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
    """How often and how long a request is tried."""

    max_tries: int = 10
    """Tries of a request that the server accepted and failed at."""
    try_seconds: float = 600.0
    """Longest time of one try."""
    total_seconds: float = 1800.0
    """No new try starts after that."""
    unreachable_seconds: float | None = None
    """The same without a connection to the server; by default `total_seconds`."""
    pauses: Pauses = USUAL

    def seconds(self, failure: Transient) -> float:
        """How long after the first try another one can start, given why the last one failed."""
        if failure.trouble is Trouble.UNREACHABLE and self.unreachable_seconds is not None:
            return self.unreachable_seconds
        return self.total_seconds


PROBE_PATIENCE = RetryPolicy(
    max_tries=4, try_seconds=120, total_seconds=180, unreachable_seconds=3, pauses=Pauses(first=0.2)
)
"""For the first questions to a server: a person waits to see whether the address is right."""


def unreachable(base_url: str, error: EngineUnavailable) -> EngineAbsent:
    """The error for a first question to a server that got no answer."""
    last = error.__cause__
    if isinstance(last, Transient) and last.trouble is not Trouble.UNREACHABLE:
        return EngineAbsent(
            f"The engine at {base_url} does not answer a test question: {last} Try again when it "
            "is up and not overloaded."
        )
    return EngineAbsent(f"No engine at {base_url}: {last} Start the server or correct `base_urls`.")


def failure(status: int, message: str, retry_after: str | None = None) -> Transient | EngineError:
    """The error for an HTTP status other than 200, with the server's message."""
    said = f"HTTP {status}: {well_formed(message) or 'no message'}"
    if status in (408, 425, 429) or status >= 500:
        trouble = _TROUBLES.get(status, Trouble.FAILED)
        return Transient(f"The server answered {said}.", _seconds(retry_after), trouble)
    if status in _ABOUT_THE_ACCOUNT or status == 404 or status < 400:
        what, next_step = _ABOUT_THE_ACCOUNT.get(status, _WRONG_ADDRESS)
        return EngineMisconfigured(f"{what} ({said}); {next_step}.")
    kind = ContextOverflow if _is_overflow(message) else EngineRefused
    return kind(f"The server refused the request ({said}).")


_TROUBLES = {429: Trouble.LIMITED, **dict.fromkeys((502, 503, 504), Trouble.BUSY)}

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
