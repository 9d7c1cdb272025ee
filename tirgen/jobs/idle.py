"""The idle ledger: how the slots of a job's engines were used, and why some were not.

Ten times a second it looks at the pools and at what the rows in progress do. A slot is idle because
of what trajectories do instead of asking: idle slots are divided among these activities, in
proportion to the trajectories there. Slots beyond that had no trajectory at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.idle import NUMBERS, REASONS, IdleLog, IdleSecond, read_idle
from tirgen.engine.gate import Gate
from tirgen.engine.live_trajectory import Activity
from tirgen.engine.pool import Pool

LOOK_SECONDS = 0.1
WRITE_SECONDS = 5.0
"""Between two writes to the store; a killed call loses at most this much."""

Pools = Mapping[str, Pool[Any]]
"""The pool of each role."""


@dataclass(slots=True)
class SlotUsage:
    """Slot-seconds of one engine over a whole call, by the fields of `IdleSecond`."""

    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(NUMBERS, 0.0))

    @property
    def busy(self) -> float:
        """The share of the slots that was busy."""
        return self.sums["busy"] / self.sums["slots"] if self.sums["slots"] else 0.0

    def reasons(self) -> list[tuple[str, float]]:
        """Why the others were not, as shares of all slots, the largest first."""
        shares = ((name, self.sums[name] / (self.sums["slots"] or 1.0)) for name in REASONS)
        return sorted((share for share in shares if share[1]), key=lambda share: -share[1])


def usage_of(run: Path, calls: Collection[str]) -> dict[str, SlotUsage]:
    """What the ledgers of several calls add up to, by engine; `run` is the run's folder."""
    usage: dict[str, SlotUsage] = {}
    for second in read_idle(run, calls):
        sums = usage.setdefault(second.roles, SlotUsage()).sums
        for name in NUMBERS:
            sums[name] += getattr(second, name)
    return usage


class IdleLedger:
    """Looks at the engines of one call; `run` is a task."""

    def __init__(
        self,
        pools: Pools,
        working: Counter[Activity],
        begins: Callable[[], bool],
        log: IdleLog,
    ) -> None:
        """`working`: trajectories by activity. `begins`: whether there is more to begin."""
        self._engines = dict(_by_servers(pools))
        self._working = working
        self._begins = begins
        self._log = log
        self._second: dict[str, dict[str, float]] = {}
        self._at = 0
        self._unwritten: list[IdleSecond] = []
        self.usage: dict[str, SlotUsage] = {name: SlotUsage() for name in self._engines}

    async def run(self) -> None:
        """Look and write until cancelled."""
        looked = written = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            self.look(now - looked, int(time.time()))
            looked = now
            if now - written > WRITE_SECONDS and self._unwritten:
                written = now
                unwritten, self._unwritten = self._unwritten, []
                await asyncio.to_thread(self._log.append, unwritten)

    def close(self) -> None:
        """Write what is not written yet."""
        self._turn_over()
        if self._unwritten:
            self._log.append(self._unwritten)
            self._unwritten = []

    def look(self, seconds: float, at: int) -> None:
        """Take what is found now for the last `seconds`, in the Unix second `at`."""
        if at != self._at:
            self._turn_over()
            self._at = at
        asking = {
            name: sum(gate.in_flight + gate.waiting for gate in gates)
            for name, gates in self._engines.items()
        }
        for name, gates in self._engines.items():
            others = sum(asking.values()) - asking[name]
            found = self._found(gates, others)
            sums = self._second.setdefault(name, dict.fromkeys(NUMBERS, 0.0))
            for what, slots in found:
                sums[what] += slots * seconds
                self.usage[name].sums[what] += slots * seconds

    def _found(self, gates: list[Gate], others: int) -> Iterator[tuple[str, float]]:
        """What the slots of one engine do, as numbers of slots."""
        slots = sum(gate.slots for gate in gates)
        busy = sum(min(gate.in_flight, gate.slots) for gate in gates)
        held = sum(gate.slots - gate.in_flight for gate in gates if gate.held_back)
        back_off = min(held, sum(gate.waiting for gate in gates))
        idle = slots - busy - back_off
        yield "slots", slots
        yield "busy", busy
        yield "back_off", back_off
        elsewhere = {activity.value: number for activity, number in self._working.items()}
        elsewhere["other_engine"] = others
        known = sum(elsewhere.values())
        explained = min(idle, known)
        for what, trajectories in elsewhere.items():
            if trajectories > 0:
                yield what, explained * trajectories / known
        if not known and not busy:
            yield "no_work", idle
        else:
            yield "job_limits" if self._begins() else "stragglers", idle - explained

    def _turn_over(self) -> None:
        """A second is over."""
        for name, sums in self._second.items():
            rounded = {what: round(value, 3) for what, value in sums.items()}
            self._unwritten.append(IdleSecond(roles=name, second=self._at, **rounded))
        self._second = {}


def _by_servers(pools: Pools) -> Iterator[tuple[str, list[Gate]]]:
    """Roles that use the same servers are one engine."""
    roles: dict[frozenset[Gate], list[str]] = {}
    for role, pool in pools.items():
        roles.setdefault(frozenset(replica.gate for replica in pool.replicas), []).append(role)
    for gates, names in roles.items():
        yield ", ".join(names), list(gates)
