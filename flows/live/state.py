"""How far one run or training is, who works on it, what it has cost, and how to go on."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from flows.live.counts import WINDOW_SECONDS, Counts, Pace
from flows.live.work import Kind, Work
from storage.calls import Call
from storage.datasets import Store
from storage.leases import SILENCE_SECONDS, Heartbeats, Holder
from storage.versions import DatasetVersion
from tirgen.jobs.budget import BudgetSettings
from trainer.history import history_of

Status = Literal["running", "finished", "stopped"]
CURVE: Final = 60
"""Most points of a training's curves."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a run has committed, in all calls; fields as in `Counts`."""

    rows: int
    correct: int
    wrong: int
    unverifiable: int
    kept: int | None
    """None where rules are applied at publication only."""
    lost: int
    baselines: int
    branches: int
    endings: dict[str, int]
    programs: dict[str, int]
    llm_calls: int
    llm_seconds: float
    sandbox_seconds: float
    overall: Pace
    lately: Pace | None
    """Over the last minute; None where the run is younger, or no process works on it."""
    last: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What all calls together have cost, with the limits of the budget."""

    minutes: float
    tokens: int | None = None
    money: float | None = None
    """None without prices."""
    most: dict[str, float] = field(default_factory=dict)
    """By unit."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """One run or training at one moment."""

    name: str
    kind: Kind
    makes: str
    """The dataset or policy."""
    status: Status
    holders: list[str]
    """The processes at work."""
    why: str | None
    """Why it stopped; None unless it did."""
    resume: str | None
    """The command that continues it, where one is known."""
    published: str | None
    """The newest version that it has published."""
    done: int | None
    total: int | None
    unit: str | None
    eta_seconds: float | None
    in_progress: int | None
    """Rows that are being made."""
    changed_seconds: float
    """Since something was last written."""
    spent: Spent
    rows: Rows | None
    """None for a training."""
    steps: list[dict[str, Any]]
    """The last steps of a training; empty for a run."""

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class Watcher:
    """One run or training; each `look` reads what is new since the last one."""

    def __init__(self, store: Store, work: Work) -> None:
        self.work = work
        self._store = store
        self._budget = _budget(work.config)
        self._counts = Counts(work.folder, self._budget, cot_measures=work.kind == "generation")
        self._heartbeats = Heartbeats()

    def look(self) -> RunState:
        """Raises Damaged where rows cannot be read."""
        work = self.work
        holders, calls = self._alive(work.holders()), work.calls()
        version = work.published(self._store)
        current = _current(calls, holders)
        seconds = sum(call.seconds for call in calls)
        rows = None if work.is_training else self._rows(seconds, at_work=bool(holders))
        complete = version is not None and self._covers(version)
        status: Status = "running" if holders else "finished" if complete else "stopped"
        progress = [call.progress for call in current if call.progress]
        return RunState(
            name=work.name,
            kind=work.kind,
            makes=work.made,
            status=status,
            holders=list(map(str, holders)),
            why=_why(calls) if status == "stopped" else None,
            resume=_command(calls[-1]) if calls and status == "stopped" else None,
            published=str(version) if version else None,
            done=_total(progress, "done"),
            total=_total(progress, "total"),
            unit=progress[0].get("unit") if progress else None,
            eta_seconds=_eta(current) if holders else None,
            in_progress=_total(progress, "live") if holders else None,
            changed_seconds=max(0.0, time.time() - work.changed),
            spent=self._spent(seconds, rows),
            rows=rows,
            steps=history_of(work.folder)[-CURVE:],
        )

    def _alive(self, holders: Sequence[Holder]) -> list[Holder]:
        """Without those of another machine whose heartbeat has not changed for too long."""
        return [
            holder
            for holder in holders
            if holder.is_dead is False
            or self._heartbeats.silence(holder.token, holder) < SILENCE_SECONDS
        ]

    def _covers(self, version: Any) -> bool:
        """The version has all that is committed."""
        if not isinstance(version, DatasetVersion):
            return True
        commits = version.manifest.get("commits")
        return commits is None or commits >= self._counts.commits

    def _rows(self, seconds: float, *, at_work: bool) -> Rows:
        counts = self._counts
        counts.update()
        return Rows(
            rows=counts.rows,
            correct=counts.correct,
            wrong=counts.wrong,
            unverifiable=counts.unverifiable,
            kept=counts.kept if self.work.kind in ("generation", "import") else None,
            lost=counts.lost,
            baselines=counts.baselines,
            branches=counts.branches,
            endings=dict(counts.endings.most_common()),
            programs=dict(counts.programs.most_common()),
            llm_calls=int(counts.sums["actor_calls"] + counts.sums["critic_calls"]),
            llm_seconds=counts.sums["llm_seconds"],
            sandbox_seconds=counts.sums["sandbox_seconds"],
            overall=counts.overall(seconds),
            lately=counts.lately if at_work and seconds > WINDOW_SECONDS else None,
            last=counts.last,
        )

    def _spent(self, seconds: float, rows: Rows | None) -> Spent:
        budget = self._budget
        most = {"tokens": budget.tokens, "money": budget.money, "minutes": budget.minutes}
        return Spent(
            minutes=seconds / 60,
            tokens=self._counts.tokens if rows else None,
            money=self._counts.money if budget.prices else None,
            most={unit: limit for unit, limit in most.items() if limit is not None},
        )


def _budget(config: Mapping[str, Any]) -> BudgetSettings:
    """Limits and prices of a run; none where another version of tirgen wrote them."""
    try:
        return BudgetSettings.model_validate(config.get("budget", {}))
    except ValidationError:
        return BudgetSettings()


def _current(calls: Sequence[Call], holders: Sequence[Holder]) -> list[Call]:
    """The calls of the processes at work; without any, the last call."""
    at_work = {(holder.pid, holder.host) for holder in holders}
    found = [call for call in calls if (call.pid, call.host) in at_work and not call.ended]
    return found if holders else list(calls[-1:])


def _total(progress: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """Over the processes at work, each of which has its own share; None where none says it."""
    found = [int(one[name]) for one in progress if one.get(name) is not None]
    return sum(found) if found else None


def _eta(current: Sequence[Call]) -> float | None:
    """Seconds until the slowest process is done, each at its pace so far."""
    left = []
    for call in current:
        done, total = call.progress.get("done", 0), call.progress.get("total", 0)
        made = done - call.progress.get("done_before", 0)
        if not made or not total:
            return None
        left.append((total - done) * call.seconds / made)
    return max(left, default=None)


def _why(calls: Sequence[Call]) -> str:
    if not calls:
        return "it was ended before it made a row"
    last = calls[-1]
    if not last.ended:
        return f"process {last.pid} on {last.host} was killed"
    return last.error or "it ended before its rows were published"


def _command(call: Call) -> str | None:
    """What to type to continue; None where no command line of tirgen began the call."""
    program, *words = call.command
    if not (program.endswith("tirgen") or program.endswith("flows/__main__.py")):
        return None
    command = shlex.join(["tirgen", *words])
    there = Path(call.place)
    return command if there == Path(os.getcwd()) else f"cd {shlex.quote(str(there))} && {command}"
