"""Runs the same actors in every order that can make a difference, stopping one at any call.

An actor is a function in a thread of its own. It stops before each file-system call, and a schedule
decides whose call is made next. Two calls that touch the same name, one of them to change it, do
not commute; orders that differ in nothing else give the same result, and of these only one is run
(dynamic partial-order reduction with sleep sets; Flanagan and Godefroid, POPL 2005).

A kill takes the place of one call that would change something: the actor makes no call any more,
the kernel closes its files, and of a write to a log half may be there. What calls before it read
changes nothing, so a kill before these leaves the same.

A context manager defines which calls stop and what they touch; that of the file system is
`tests.storage.file_calls`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Call(NamedTuple):
    """A call that an actor is about to make, and the names that it touches."""

    what: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    """With all that lies below them."""
    lists: frozenset[str] = frozenset()
    """Folders whose entries it reads."""
    enters: frozenset[str] = frozenset()
    """Folders in which it adds, removes or renames an entry; two that do so commute."""
    waits: bool = False
    """It takes a lock, and waits until it is free."""
    frees: bool = False
    """It gives locks back."""

    @property
    def changes(self) -> bool:
        return bool(self.writes)

    def conflicts(self, other: Call) -> bool:
        """Whether the order of the two can make a difference."""
        return self._disturbs(other) or other._disturbs(self)

    def _disturbs(self, other: Call) -> bool:
        if self.enters & other.lists:
            return True
        touched = other.reads | other.writes | other.lists
        return any(
            name == mine or name.startswith(f"{mine}/") for mine in self.writes for name in touched
        )


class Kill(NamedTuple):
    """Which actor is killed in the place of which of its calls that change something."""

    actor: str
    call: int
    """Counted from 1."""
    torn: bool = False
    """The call is a write, and half of it is done."""


class Killed(BaseException):
    """Ends the thread of an actor that was killed."""


class Actor:
    """A function that runs from one of its calls to the next at each `step`."""

    def __init__(self, name: str, work: Callable[[], object], kill: Kill | None) -> None:
        self.name = name
        self.pending: Call | None = None
        """The call that it makes at the next `step`; None once it has ended."""
        self.can: Callable[[], bool] = lambda: True
        """Whether the pending call would return."""
        self.killed = False
        self.error: BaseException | None = None
        self.changes = 0
        self.writes: list[int] = []
        """Which of its changes are writes to an open file."""
        self.open: dict[int, str] = {}
        """Its open files by descriptor."""
        self.locks: set[int] = set()
        self._kill = kill
        self._work = work
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Up to its first call."""
        self._thread.start()
        self._stopped.acquire()

    def step(self) -> None:
        """Make the pending call, and go on up to the next one."""
        self._go.release()
        self._stopped.acquire()

    def abandon(self) -> None:
        """End its thread where it is."""
        self.killed = True
        if self.pending is not None:
            self.step()
        self._thread.join()
        self.close_all()

    def close_all(self) -> None:
        """As the kernel does for a process that has ended."""
        with unobserved():
            for descriptor in list(self.open):
                os.close(descriptor)
        self.open.clear()

    def make(
        self,
        call: Call,
        do: Callable[[], T],
        *,
        half: Callable[[], object] | None = None,
        can: Callable[[], bool] = lambda: True,
    ) -> T:
        """Wait until told to, then make the call, or be killed instead; in the actor's thread."""
        if self.killed:
            raise Killed
        self.changes += call.changes
        if call.changes and half:
            self.writes.append(self.changes)
        due = self._kill and call.changes and self._kill.call == self.changes
        if due and not (self._kill and self._kill.torn):
            held = frozenset(lock_name(self.open[one]) for one in self.locks)
            call = Call(f"killed before {call.what}", writes=held, frees=True)
        self.pending, self.can = call, can
        self._stopped.release()
        self._go.acquire()
        if due and not self.killed and half and self._kill and self._kill.torn:
            half()
        if due or self.killed:
            self.killed = True
            self.close_all()
            raise Killed
        return do()

    def _run(self) -> None:
        _here.actor = self
        try:
            self._work()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by `explore`
            self.error = error
        self.pending = None
        self._stopped.release()


class World:
    """What one execution looks at: its actors, and what must hold while they work."""

    def __init__(self, actors: Mapping[str, Callable[[], object]]) -> None:
        self.actors = actors

    def check(self) -> None:
        """After each call that changed something."""

    def finish(self, killed: str | None) -> None:
        """After the last call; `killed` names the actor that was killed."""


@dataclass(slots=True)
class _Node:
    """A point of a schedule."""

    enabled: frozenset[str]
    """Actors whose next call can be made."""
    chosen: str
    sleep: dict[str, Call]
    """Actors whose next call need not come now: what follows was run before."""
    backtrack: set[str] = field(default_factory=set)
    """Actors whose next call must come now in some schedule."""


class _Event(NamedTuple):
    actor: str
    call: Call
    clock: dict[str, int]
    """By actor, its last event that must come before this one, or is this one."""


class Explored(NamedTuple):
    """What was run."""

    schedules: int
    changes: Mapping[str, int]
    """By actor, the most calls that change something."""
    writes: Mapping[str, frozenset[int]]
    """By actor, which of them may be torn."""


def explore(
    make: Callable[[], World],
    calls_stop: Callable[[], AbstractContextManager[None]],
    kill: Kill | None = None,
) -> Explored:
    """Run fresh worlds in every order that matters.

    Raises what a check or an actor raises, with the schedule in a note.
    """
    stack: list[_Node] = []
    schedules, changes, writes = 0, dict[str, int](), dict[str, frozenset[int]]()
    with calls_stop():
        while True:
            for actor in _execute(make(), kill, stack):
                changes[actor.name] = max(changes.get(actor.name, 0), actor.changes)
                torn = writes.get(actor.name, frozenset())
                writes[actor.name] = torn | frozenset(actor.writes)
            schedules += 1
            while stack and not (stack[-1].backtrack - stack[-1].sleep.keys()):
                stack.pop()
            if not stack:
                return Explored(schedules, changes, writes)
            stack[-1].chosen = min(stack[-1].backtrack - stack[-1].sleep.keys())


def _execute(world: World, kill: Kill | None, stack: list[_Node]) -> list[Actor]:
    """One execution: along the nodes of `stack`, then in any order; adds what must be tried too."""
    actors = [
        Actor(name, work, kill if kill and kill.actor == name else None)
        for name, work in world.actors.items()
    ]
    events: list[_Event] = []
    clocks: dict[str, dict[str, int]] = {actor.name: {} for actor in actors}
    try:
        for actor in actors:
            actor.start()
        sleep: dict[str, Call] = {}
        while pending := {actor.name: actor for actor in actors if actor.pending}:
            waiting = {name: actor for name, actor in pending.items() if actor.can()}
            assert waiting, "every actor waits for another one"
            if len(events) == len(stack):
                awake = [name for name in waiting if name not in sleep]
                if not awake:
                    return actors  # the rest was run before, in another order
                stack.append(_Node(frozenset(waiting), awake[0], dict(sleep), {awake[0]}))
            node = stack[len(events)]
            actor = waiting[node.chosen]
            call = actor.pending
            assert call is not None
            _note_races(events, actor.name, call, clocks, stack)
            actor.step()
            if actor.error:
                raise actor.error
            if call.changes:
                world.check()
            sleep = {
                name: one
                for name, one in node.sleep.items()
                if name != actor.name and not one.conflicts(call)
            }
            node.sleep[actor.name] = call  # for the next execution that comes here
        world.finish(next((actor.name for actor in actors if actor.killed), None))
    except BaseException as error:
        error.add_note(
            f"with {kill}, after:\n" + "\n".join(f"{e.actor}: {e.call.what}" for e in events)
        )
        raise
    finally:
        for actor in actors:
            actor.abandon()
    return actors


def _note_races(
    events: list[_Event],
    actor: str,
    call: Call,
    clocks: dict[str, dict[str, int]],
    stack: list[_Node],
) -> None:
    """Append the event; where it could have come before another one, that is to be tried."""
    clock, freed = clocks[actor], dict[str, int]()
    for number in range(len(events) - 1, -1, -1):
        event = events[number]
        if event.actor == actor or not event.call.conflicts(call):
            continue
        if call.waits and event.call.frees:  # these two can come in no other order
            freed = _later(freed, event.clock)
        elif number > clock.get(event.actor, -1):
            node = stack[number]
            node.backtrack |= {actor} if actor in node.enabled else node.enabled
            clock = _later(clock, event.clock)
    clock = {**_later(clock, freed), actor: len(events)}
    clocks[actor] = clock
    events.append(_Event(actor, call, clock))


def _later(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, -1), other.get(name, -1)) for name in one.keys() | other.keys()}


def lock_name(path: str) -> str:
    """The name that stands for the lock on a file."""
    return f"{path}!lock"


_here = threading.local()


def current() -> Actor | None:
    """The actor whose thread this is, unless it is unobserved."""
    actor: Actor | None = getattr(_here, "actor", None)
    return actor


@contextmanager
def unobserved() -> Iterator[None]:
    """In a `with` block of an actor no call stops, for what belongs to the test."""
    actor, _here.actor = current(), None
    try:
        yield
    finally:
        _here.actor = actor
