"""What a run may cost and what it has cost: tokens, wall time, money, over all its calls together.

A budget bounds new attempts, never those under way: they are paid for, and their rows count. An
attempt begins only if the budget covers it and all others under way even if each takes as much as
the dearest of its kind so far. So fewer and fewer run as the budget ends, and it is overdrawn only
by attempts dearer than any before.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from storage.records import Program, Trajectory
from tirgen.settings import Settings

if TYPE_CHECKING:  # pyarrow and DuckDB, which a configuration does not need
    from storage.runs import Run

COLD_START = 4
"""Attempts begun before anything is known of what one costs."""
SECONDS_BETWEEN_NOTES = 2.0
"""How much of its wall time a killed call may fail to report."""
MILLION = 1_000_000


class Price(Settings):
    """What a model costs, per million tokens, in whatever currency the budget is in."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class BudgetSettings(Settings):
    """When a run stops and publishes what is finished; a higher budget lets it go on."""

    tokens: int | None = Field(None, ge=1)
    """Prompt and completion tokens of actor and critic."""
    minutes: float | None = Field(None, gt=0)
    """Wall time of all calls of the run together."""
    money: float | None = Field(None, gt=0)
    """In the currency of `prices`."""
    prices: dict[str, Price] = Field({})
    """By model name, per million tokens, e.g. ``{pocket = {prompt = 0.1, completion = 0.3}}``."""

    @property
    def limits(self) -> bool:
        """Something can run out."""
        return (self.tokens, self.minutes, self.money) != (None, None, None)

    def price(self, cost: Mapping[str, Any]) -> float:
        """Of a row's token counts; models without a price are free."""
        if not self.prices:
            return 0.0
        return sum(self._of(cost[f"{role}_model"], cost, role) for role in ("actor", "critic"))

    def _of(self, model: str | None, cost: Mapping[str, Any], role: str) -> float:
        price = self.prices.get(model or "", Price(prompt=0, completion=0))
        prompt: int = cost[f"{role}_prompt_tokens"]
        completion: int = cost[f"{role}_completion_tokens"]
        return (price.prompt * prompt + price.completion * completion) / MILLION


class Amount(NamedTuple):
    """A cost in the three units that a budget may be in."""

    tokens: float = 0
    money: float = 0.0
    seconds: float = 0.0
    """From the beginning of an attempt to its end."""

    def plus(self, other: Amount, times: int = 1) -> Amount:
        return Amount(*(one + times * more for one, more in zip(self, other, strict=True)))

    def at_least(self, other: Amount) -> Amount:
        """The larger in each unit."""
        return Amount(*map(max, self, other))


NOTHING = Amount()


@dataclass(slots=True)
class Spend:
    """What attempts have cost, and how long the calls took that made them."""

    total: Amount = NOTHING
    dearest: dict[str, Amount] = field(default_factory=dict)
    """The most that an attempt has taken, by program: baselines take a fraction of the others."""
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
        """Count an attempt, given by its columns."""
        tokens = sum(cost[name] for name in _TOKENS)
        amount = Amount(tokens, budget.price(cost), cost["wall_seconds"])
        self.total = self.total.plus(amount)
        self.dearest[cost["program"]] = amount.at_least(self.dearest.get(cost["program"], amount))

    def expected(self, program: str) -> Amount | None:
        """What an attempt may take; of a program not tried yet, what the dearest other did."""
        return self.dearest.get(program) or max(self.dearest.values(), default=None)


_TOKENS = [
    "actor_prompt_tokens", "actor_completion_tokens",
    "critic_prompt_tokens", "critic_completion_tokens",
]  # fmt: skip
COST_COLUMNS = ["program", "actor_model", "critic_model", *_TOKENS, "wall_seconds"]


def cost_of(row: Trajectory) -> Mapping[str, Any]:
    """The columns that say what a row cost."""
    sources = (row, row.cost, row.provenance)
    return {
        name: next(getattr(source, name) for source in sources if hasattr(source, name))
        for name in COST_COLUMNS
    }


@dataclass(slots=True)
class Account:
    """Admits attempts while the budget lasts, and charges them."""

    budget: BudgetSettings = field(default_factory=BudgetSettings)
    spend: Spend = field(default_factory=Spend)
    run: Run | None = None
    """Where wall time is noted, once the run is open."""
    stopped: str | None = None
    """Why no more attempts are begun."""
    _live: Counter[str] = field(default_factory=Counter)
    _noted: float = 0.0
    _charged: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def admit(self, program: Program) -> bool:
        """Wait until another attempt is covered; False when none ever will be."""
        if not self.budget.limits:
            return True
        async with self._charged:
            await self._charged.wait_for(lambda: self._decided(program))
            if self.stopped is None:
                self._live[program] += 1
            return self.stopped is None

    async def charge(self, row: Trajectory) -> None:
        """Book an attempt that was admitted."""
        self.spend.add(cost_of(row), self.budget)
        if time.monotonic() - self._noted > SECONDS_BETWEEN_NOTES:
            self.note_time()
        if self.budget.limits:
            async with self._charged:
                self._live[row.program] -= 1
                self._charged.notify_all()

    def note_time(self) -> None:
        """Put on record how long this call has taken."""
        self._noted = time.monotonic()
        if self.run is not None:
            self.run.note_seconds(self.spend.started, self._noted - self.spend.started)

    def _decided(self, program: str) -> bool:
        """Whether one more attempt is covered is known; if it is not, `stopped` says why."""
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
        """What does not cover another attempt beside those under way."""
        planned = another
        for program, live in self._live.items():
            planned = planned.plus(self.spend.expected(program) or another, live)
        budget, spend = self.budget, self.spend
        if budget.tokens is not None and spend.tokens + planned.tokens > budget.tokens:
            return f"{spend.tokens:,} of {budget.tokens:,} tokens are spent"
        if budget.money is not None and spend.money + planned.money > budget.money:
            return f"{spend.money:.4g} of {budget.money:.4g} in money are spent"
        if budget.minutes is not None and spend.seconds + another.seconds > 60 * budget.minutes:
            return f"{spend.seconds / 60:.1f} of {budget.minutes:g} minutes are spent"
        return None
