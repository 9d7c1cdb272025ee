"""The idle ledger of a run: how the slots of its engines were used, second by second.

    RUN/idle/CALL.jsonl     one line for each engine and second of one call (`storage.calls`)

Nothing needs it to continue a run; a line that a crash cut off is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from storage import documents, files
from storage.literals import literal

IDLE = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSecond:
    """How the slots of one engine were used in one second; all but `second` are slot-seconds.

    `slots` is the sum of `busy` and of the reasons why the others were not busy.
    """

    roles: str
    """The roles that use its servers, e.g. ``actor`` or ``actor, critic``."""
    second: int
    """Unix time in seconds."""
    slots: float = 0.0
    """Requests that the servers bear, by what the client has found out."""
    busy: float = 0.0
    """Requests in flight."""
    back_off: float = 0.0
    """Requests waited, but a server was left alone after a failure, or its rate limit reached."""
    sandbox: float = 0.0
    """Trajectories ran a program, or waited to."""
    verifier: float = 0.0
    """Answers were judged."""
    store: float = 0.0
    """Rows waited to be durable."""
    other_engine: float = 0.0
    """Trajectories asked the other role's engine."""
    client: float = 0.0
    """Trajectories waited for the CPU of this process."""
    job_limits: float = 0.0
    """The job's own limits (live trajectories, budget) let no more begin."""
    stragglers: float = 0.0
    """Nothing was left to begin, and the last trajectories took longer."""
    no_work: float = 0.0
    """No trajectory was in progress."""


REASONS = (
    "back_off", "sandbox", "verifier", "store", "other_engine", "client", "job_limits",
    "stragglers", "no_work",
)  # fmt: skip
"""The fields of `IdleSecond` that say why slots were not busy."""


class IdleLog:
    """The ledger of one call; `folder` is the run's, `call` the call's name."""

    def __init__(self, folder: Path, call: str) -> None:
        self._file = folder / IDLE / f"{call}.jsonl"

    def append(self, seconds: Iterable[IdleSecond]) -> None:
        """Put seconds on record, in their order."""
        files.make_folder(self._file.parent)
        lines = b"".join(documents.dump(asdict(second)) + b"\n" for second in seconds)
        with self._file.open("ab") as file:
            file.write(lines)
        files.changed(self._file)


def idle_files(run: Path) -> list[Path]:
    """The idle ledgers of a run, one for each call."""
    files.update(run / IDLE)
    return sorted((run / IDLE).glob("*.jsonl"))


NUMBERS = ("slots", "busy", *REASONS)
"""The fields of `IdleSecond` in slot-seconds."""
_COLUMNS = {"roles": "VARCHAR", "second": "BIGINT", **dict.fromkeys(NUMBERS, "DOUBLE")}
IDLE_COLUMNS = ("dataset", "run", "call", "roles", "second", *NUMBERS)


def idle_view(place: str | None) -> str:
    """The body of the view `idle` over the files of a glob pattern; of none if it is None.

    The path of a file ends in ``DATASET/runs/RUN/idle/CALL.jsonl``.
    """
    if place is None:
        types = {"second": "TIMESTAMP", **dict.fromkeys(NUMBERS, "DOUBLE")}
        nothing = (f"NULL::{types.get(name, 'VARCHAR')} AS {name}" for name in IDLE_COLUMNS)
        return f"SELECT {', '.join(nothing)} WHERE false"
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in _COLUMNS.items())
    path = r"'([^/]+)/runs/([^/]+)/idle/([^/]+)\.jsonl$'"
    parts = ", ".join(
        f"regexp_extract(filename, {path}, {number}) AS {name}"
        for number, name in enumerate(("dataset", "run", "call"), 1)
    )
    numbers = ", ".join(NUMBERS)
    return (
        f"SELECT {parts}, roles, make_timestamp(second * 1000000) AS second, {numbers} "
        f"FROM read_json({literal(place)}, format = 'newline_delimited', ignore_errors = true, "
        f"filename = true, columns = {{{columns}}}) WHERE slots IS NOT NULL"
    )
