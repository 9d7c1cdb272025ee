"""The budget of a run and what it has spent: tokens, wall time and money of all its calls together.

A budget stops new attempts, never attempts in progress: those are paid for, and their rows count.
An attempt begins only if the budget covers it and all attempts in progress, assuming that each
costs as much as the most expensive one of its kind so far. So fewer attempts run as the budget
ends, and only an attempt more expensive than all before can exceed it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from storage.leases import Heartbeats
from storage.records import Program, Trajectory
from tirgen.settings import Settings

if TYPE_CHECKING:  # pyarrow and DuckDB, which a configuration does not need
    from storage.calls import Call

SILENT_SECONDS = 30.0
"""A call that notes nothing for so long has ended, or was killed: it plans nothing any more."""
COLD_START = 4
"""Attempts that may begin before the cost of any attempt is known."""
MILLION = 1_000_000


class Price(Settings):
    """The price of a model per million tokens, in the currency of the budget."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class BudgetSettings(Settings):
    """When a run stops and publishes its finished rows. With a higher budget it continues."""

    tokens: int | None = Field(None, ge=1)
    """Most prompt and completion tokens of actor and critic."""
    minutes: float | None = Field(None, gt=0)
    """Most wall time of all calls of the run together, in minutes."""
    money: float | None = Field(None, gt=0)
    """Most money, in the currency of `prices`."""
    prices: dict[str, Price] = Field({})
    """By model name, per million tokens, e.g. ``{pocket = {prompt = 0.1, completion = 0.3}}``."""

    @property
    def limits(self) -> bool:
        """Whether any limit is set."""
        return (self.tokens, self.minutes, self.money) != (None, None, None)

    def price(self, cost: Mapping[str, Any]) -> float:
        """The price of a row, from its columns; models without a price are free."""
        if not self.prices:
            return 0.0
        return sum(self._of(cost[f"{role}_model"], cost, role) for role in ("actor", "critic"))

    def _of(self, model: str | None, cost: Mapping[str, Any], role: str) -> float:
        price = self.prices.get(model or "", Price(prompt=0, completion=0))
        prompt: int = cost[f"{role}_prompt_tokens"]
        completion: int = cost[f"{role}_completion_tokens"]
        return (price.prompt * prompt + price.completion * completion) / MILLION


class Amount(NamedTuple):
    """A cost in the three units of a budget."""

    tokens: float = 0
    money: float = 0.0
    seconds: float = 0.0
    """Wall time of an attempt."""

    def plus(self, other: Amount, times: int = 1) -> Amount:
        return Amount(*(one + times * more for one, more in zip(self, other, strict=True)))

    def at_least(self, other: Amount) -> Amount:
        """The larger of the two in each unit."""
        return Amount(*map(max, self, other))


NOTHING = Amount()


@dataclass(slots=True)
class RunCost:
    """The cost of the attempts, and the wall time of the calls that made them."""

    total: Amount = NOTHING
    before: Amount = NOTHING
    """`total` when this call began."""
    highest: dict[str, Amount] = field(default_factory=dict)
    """The highest cost of one attempt, by program: baselines cost much less than others."""
    earlier_seconds: float = 0.0
    """Wall time of the calls before this one."""
    started: float = field(default_factory=time.monotonic)

    @property
    def tokens(self) -> int:
        return int(self.total.tokens)

    @property
    def money(self) -> float:
        return self.total.money

    @property
    def seconds(self) -> float:
        """Wall time of all calls."""
        return self.earlier_seconds + time.monotonic() - self.started

    def add(self, cost: Mapping[str, Any], budget: BudgetSettings) -> None:
        """Count an attempt, given its columns."""
        tokens = sum(cost[name] for name in TOKEN_COLUMNS)
        amount = Amount(tokens, budget.price(cost), cost["wall_seconds"])
        self.total = self.total.plus(amount)
        self.highest[cost["program"]] = amount.at_least(self.highest.get(cost["program"], amount))

    def expected(self, program: str) -> Amount | None:
        """Highest cost of an attempt so far; for a new program, of any other program."""
        return self.highest.get(program) or max(self.highest.values(), default=None)


TOKEN_COLUMNS = [
    "actor_prompt_tokens", "actor_completion_tokens",
    "critic_prompt_tokens", "critic_completion_tokens",
]  # fmt: skip
COST_COLUMNS = ["program", "actor_model", "critic_model", *TOKEN_COLUMNS, "wall_seconds"]


def cost_of(row: Trajectory) -> Mapping[str, Any]:
    """The cost columns of a row."""
    sources = (row, row.cost, row.provenance)
    return {
        name: next(getattr(source, name) for source in sources if hasattr(source, name))
        for name in COST_COLUMNS
    }


class Others:
    """What other calls of the run spend while this one works."""

    def __init__(self, read: Callable[[], Iterable[Call]]) -> None:
        """`read` gives what they note. What they noted until now counts as spent before."""
        self._read = read
        self._before = {call.key: _amount(call) for call in read()}
        self._heartbeats = Heartbeats()
        self.spent = self.planned = NOTHING

    def look(self) -> None:
        """Take over what they have noted since."""
        spent = planned = NOTHING
        for call in self._read():
            before = self._before.get(call.key, NOTHING)
            spent = spent.plus(_amount(call)).plus(before, times=-1)
            silence = self._heartbeats.silence(call.key, call.seconds)
            if not call.ended and silence < SILENT_SECONDS:
                planned = planned.plus(_amount(call, "planned_"))
        self.spent, self.planned = spent, planned


def _amount(call: Call, prefix: str = "") -> Amount:
    spent = call.progress.get("spent", {})
    tokens, money = (spent.get(prefix + name, 0.0) for name in ("tokens", "money"))
    return Amount(tokens, money, 0.0 if prefix else call.seconds)


@dataclass(slots=True)
class BudgetAccount:
    """Admits attempts while the budget lasts, and charges their cost."""

    budget: BudgetSettings = field(default_factory=BudgetSettings)
    spend: RunCost = field(default_factory=RunCost)
    others: Others | None = None
    """The calls that work on other shards of the run at the same time; None without any."""
    stopped: str | None = None
    """Why no more attempts begin; None while they do."""
    _live: Counter[str] = field(default_factory=Counter)
    _charged: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def admit(self, program: Program) -> bool:
        """Wait until the budget covers another attempt; False when it never will."""
        if not self.budget.limits:
            return True
        async with self._charged:
            await self._charged.wait_for(lambda: self._decided(program))
            if self.stopped is None:
                self._live[program] += 1
            return self.stopped is None

    async def release(self, program: Program) -> None:
        """An admitted attempt was cancelled: what it cost is not known."""
        if self.budget.limits:
            async with self._charged:
                self._live[program] -= 1
                self._charged.notify_all()

    async def charge(self, row: Trajectory) -> None:
        """Charge the cost of an admitted attempt."""
        self.spend.add(cost_of(row), self.budget)
        if self.budget.limits:
            async with self._charged:
                self._live[row.program] -= 1
                self._charged.notify_all()

    async def look(self) -> None:
        """Take note of what other calls have spent."""
        if self.others and self.budget.limits:
            await asyncio.to_thread(self.others.look)
            async with self._charged:
                self._charged.notify_all()

    def document(self) -> dict[str, float]:
        """What this call notes of its cost, for calls at the same time."""
        spent = self.spend.total.plus(self.spend.before, times=-1)
        planned = self._planned(NOTHING)
        return {
            "tokens": spent.tokens,
            "money": spent.money,
            "planned_tokens": planned.tokens,
            "planned_money": planned.money,
        }

    def _planned(self, another: Amount) -> Amount:
        """The cost of another attempt and of those in progress."""
        planned = another
        for program, live in self._live.items():
            planned = planned.plus(self.spend.expected(program) or another, live)
        return planned

    def _decided(self, program: str) -> bool:
        """Whether to stop waiting: another attempt is covered, or none is left to wait for.

        Sets `stopped` in the second case.
        """
        if self.stopped is not None:
            return True
        live = self._live.total()
        another = self.spend.expected(program)
        if another is None:
            return live < COLD_START
        lacking = self._lacking(another)
        if lacking and not live:
            self.stopped = lacking
            self._charged.notify_all()
        return not lacking or not live

    def _lacking(self, another: Amount) -> str | None:
        """The limit that does not cover one more attempt beside those in progress, or None."""
        budget, planned = self.budget, self._planned(another)
        spent = Amount(self.spend.tokens, self.spend.money, self.spend.seconds)
        if self.others:
            spent = spent.plus(self.others.spent)
            planned = planned.plus(self.others.planned)
        if budget.tokens is not None and spent.tokens + planned.tokens > budget.tokens:
            return f"{spent.tokens:,.0f} of {budget.tokens:,} tokens are spent"
        if budget.money is not None and spent.money + planned.money > budget.money:
            return f"{spent.money:.4g} of {budget.money:.4g} in money are spent"
        if budget.minutes is not None and spent.seconds + another.seconds > 60 * budget.minutes:
            return f"{spent.seconds / 60:.1f} of {budget.minutes:g} minutes are spent"
        return None
