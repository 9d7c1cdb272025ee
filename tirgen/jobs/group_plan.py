"""Which groups a round samples: each once, or as few as needed for a number of mixed groups.

A group is the samples of one thing that is asked: of a problem, or of the prefix of a failed step.
With a number of groups, a round asks the shortest run from the start of a fixed order that holds so
many mixed ones. So the choice depends only on the policy's answers, never on timing: a round that
was killed and continued asks the same.

Which groups these are is known only when the last of them is complete. To begin another one only
then would make a round last many times its longest sample. So as many are begun as are expected to
be needed, by how often groups turn out to be mixed; those that prove unnecessary are given up.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from storage.groups import Group, Member
from storage.records import Level
from tirgen.jobs.workers import task_group

T = TypeVar("T")

_TELLING = 6
"""Samples after which a group that is not mixed is expected to stay so. Waiting for all samples
would take as long as the longest one."""

_PRIOR = 16
"""The first guess is that half of all groups are mixed; it weighs as much as 16 groups."""

LOOK_SECONDS = 1.0
"""How often the plan is asked for more groups while none ends."""


class GroupPlan(Generic[T]):
    """The groups of one level of a round, with the samples made of each."""

    def __init__(
        self,
        level: Level,
        items: Iterable[T],
        name: Callable[[T], str],
        *,
        samples: int,
        groups: int | None,
        most: int | None = None,
    ) -> None:
        """`items` are asked in this order, at most `most` of them; `name` is that of their groups.

        `groups`: mixed groups that are wanted; None to ask every item.
        """
        self._level = level
        self._items = islice(items, most)
        self._name = name
        self._samples = samples
        self._groups = groups
        self._made: defaultdict[str, dict[int, Member]] = defaultdict(dict)
        self._begun: dict[str, _Begun[T]] = {}
        """In the order of the items."""
        self._taken = self._settled = self._mixed = 0
        self._needed: list[_Begun[T]] | None = None
        """The shortest run that fills the round, once all of it is settled."""

    def note(self, group: str, number: int, made: Member) -> None:
        """Note a sample; a lost one counts as made, so that the call ends."""
        self._made[group][number] = made

    def missing(self, item: T) -> list[int]:
        """The numbers of the samples still to make."""
        made = self._made[self._name(item)]
        return [number for number in range(self._samples) if number not in made]

    def next(self) -> T | None:
        """The item to begin now, to be passed to `settle`; None while no more is needed."""
        while self._needed is None and self._expects_too_few():
            item = next(self._items, None)
            if item is None:
                return None
            self._taken += 1
            if self._name(item) in self._begun:
                continue
            self._begun[self._name(item)] = _Begun(item, self._taken)
            if self.missing(item):
                return item
            self.settle(item)
        return None

    def due(self) -> list[T]:
        """Begin all items that are needed by what is noted so far; those with samples missing."""
        return list(iter(self.next, None))

    def settle(self, item: T) -> None:
        """Note that all samples of an item from `next` are recorded."""
        one = self._begun[self._name(item)]
        one.is_mixed = self._are_mixed(one)
        one.is_settled = True
        self._mixed += one.is_mixed
        self._settled += 1
        if self._groups is not None and self._needed is None:
            self._needed = self._filling_run(self._groups)

    @property
    def is_over(self) -> bool:
        """Nothing that is still in progress is needed."""
        return self._needed is not None

    @property
    def items(self) -> list[T]:
        """What the round asks; before it is over, all that is begun."""
        return [one.item for one in self._run]

    @property
    def drawn(self) -> int:
        """Items of the round in their order; one that is repeated is counted again."""
        return self._taken if self._needed is None else self._needed[-1].place

    @property
    def mixed(self) -> int:
        """Finished groups of the round with an advantage."""
        return self._mixed if self._needed is None else sum(one.is_mixed for one in self._needed)

    @property
    def begun(self) -> int:
        """Groups of the round that are begun, or settled."""
        return len(self._run)

    @property
    def settled(self) -> int:
        """Groups of the round whose samples are all made."""
        return self._settled if self._needed is None else len(self._needed)

    @property
    def full(self) -> bool:
        """The round has its number of mixed groups, or needs none."""
        return self._groups is None or self._needed is not None

    @property
    def _run(self) -> Collection[_Begun[T]]:
        return self._begun.values() if self._needed is None else self._needed

    def _filling_run(self, groups: int) -> list[_Begun[T]] | None:
        """The shortest run with so many mixed groups; None if not all of it is settled."""
        run: list[_Begun[T]] = []
        for one in self._begun.values():
            if groups == 0:
                break
            if not one.is_settled:
                return None
            run.append(one)
            groups -= one.is_mixed
        return None if groups else run

    def _are_mixed(self, one: _Begun[T]) -> bool:
        members = list(self._made[self._name(one.item)].values())
        return Group(self._level, members).dropped is None

    def _looks_mixed(self, one: _Begun[T]) -> bool:
        """Mixed, or so far: further samples may at most show that half of its group is lost."""
        if not (one.is_mixed or one.is_settled):
            one.is_mixed = self._are_mixed(one)
        return one.is_mixed

    def _expects_too_few(self) -> bool:
        """The mixed groups, and what may be expected of those that are not yet, are too few."""
        if self._groups is None:
            return True
        telling = min(_TELLING, self._samples)
        told = mixed_of_told = mixed = untold = 0
        for one in self._begun.values():
            is_mixed = self._looks_mixed(one)
            mixed += is_mixed
            if len(self._made[self._name(one.item)]) >= telling:
                told += 1
                mixed_of_told += is_mixed
            else:
                untold += not (is_mixed or one.is_settled)
        share = (mixed_of_told + _PRIOR / 2) / (told + _PRIOR)
        deviation = math.sqrt(untold * share * (1 - share))
        return mixed + share * untold - deviation < self._groups


@dataclass(slots=True)
class _Begun(Generic[T]):
    """An item that was begun."""

    item: T
    place: int
    """How many items end with it."""
    is_settled: bool = False
    is_mixed: bool = False


async def sample_groups(
    plan: GroupPlan[T],
    due: Iterable[T],
    make: Callable[[T, int], Coroutine[Any, Any, object]],
    live: int,
    changed: Callable[[], None] = lambda: None,
) -> int:
    """Sample group after group, those of `due` first, for as long as the plan needs more.

    `due` are items that the plan has begun. `make` makes one sample and notes it in the plan;
    `changed` is called when a group is complete. At most `live` groups are in progress at the same
    time. A slow sample delays no other group. What is in progress when the plan is over is
    cancelled; returns how many groups.
    """

    async def make_group(item: T) -> None:
        async with asyncio.TaskGroup() as samples:
            for number in plan.missing(item):
                samples.create_task(make(item, number))
        plan.settle(item)
        changed()

    begun, running = iter(due), set[asyncio.Task[None]]()

    def following() -> T | None:
        item = next(begun, None)
        return plan.next() if item is None else item

    item = following()
    async with task_group() as group:
        while (item is not None or running) and not plan.is_over:
            while item is not None and len(running) < live:
                running.add(group.create_task(make_group(item)))
                item = following()
            _, running = await asyncio.wait(
                running, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            item = following() if item is None else item
        for task in running:
            task.cancel()
    return len(running)
