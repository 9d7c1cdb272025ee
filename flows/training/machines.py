"""A training on several machines: the same command on each, of which the one at the meeting leads.

    STORE/policies/NAME/machines/leases/       held by the command that leads, until it ends
    STORE/policies/NAME/machines/training.json the job that it has handed out now
    STORE/policies/NAME/machines/JOB.json      a job, as `trainer.job` reads it

The command that leads reads the data, samples, evaluates and publishes. The others only run the
processes of each training that it hands out (`trainer.launch`), until it ends. All see the store
under the same path.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flows.terminal.failures import FlowError
from flows.training.launching import run_supervised, trainer_command
from storage import documents, files
from storage.datasets import Store
from storage.documents import fingerprint
from storage.leases import LEASES, Holder, holders
from storage.places import mirror_of
from tirgen.jobs.shards import POLL_SECONDS, named_lease
from tirgen.settings import ConfigError
from trainer.launch import PATIENCE_SECONDS, Meeting

if TYPE_CHECKING:  # needs torch
    from trainer.job import RlJob, SftJob

LEADER = "leader"
HANDED_OUT = "training.json"


class NobodyLeads(FlowError):
    """No command led the training for too long."""

    kind = "training"


class _HandedOut(NamedTuple):
    job: str
    token: str
    """Of the lease of the command that handed it out."""


class Machines:
    """The machines of a training, as each of them sees the others: through the store."""

    def __init__(self, meeting: Meeting, folder: Path) -> None:
        self.meeting = meeting
        self.folder = folder
        self._token = ""

    @classmethod
    def of(cls, store: Store, policy: str, machines: int, meet: str | None) -> Machines | None:
        """None for one machine. Raises `ConfigError` where the settings do not fit together."""
        if (machines > 1) != (meet is not None):
            raise ConfigError(
                "--machines and --meet belong together: the number of machines that run this "
                "command, and HOST:PORT of one of them, which then leads"
            )
        if meet is None:
            return None
        if mirror_of(store.root):
            raise ConfigError(
                "--machines: several machines write a checkpoint together, which a store in a "
                "bucket cannot take; use a store on a file system that all of them share"
            )
        try:
            meeting = Meeting.parse(machines, meet)
            meeting.is_here()
        except (ValueError, OSError) as error:
            raise ConfigError(f"--meet {meet}: {error}") from None
        return cls(meeting, store.root.absolute() / "policies" / policy / "machines")

    @property
    def leads(self) -> bool:
        """This machine has the address of the meeting."""
        return self.meeting.is_here()

    @asynccontextmanager
    async def leading(self, say: Callable[[str], None]) -> AsyncIterator[None]:
        """Lead the others until the block ends, and wait while another command leads them."""

        def waiting(held: Holder) -> None:
            say(f"waiting for {held}, which leads trainings of this policy")

        async with named_lease(self.folder, LEADER, waiting) as lease:
            self._token = lease.holder.token
            say(f"this machine leads; the same command runs on {self.meeting.machines - 1} more")
            yield

    @contextmanager
    def handed_out(self, job: SftJob | RlJob) -> Iterator[Path]:
        """The file of a job, which the other machines run until the block ends."""
        names = job.names.model_copy(update={"store": job.names.store.absolute()})
        document = job.model_copy(update={"names": names}).model_dump(mode="json")
        path = self.folder / f"{fingerprint(document)}.json"
        files.write_atomic(path, json.dumps(document).encode())
        current = _HandedOut(path.name, self._token)
        files.write_atomic(self.folder / HANDED_OUT, documents.dump(current._asdict()))
        try:
            yield path
        finally:
            files.remove(self.folder / HANDED_OUT)

    async def follow(self, processes: int, say: Callable[[str], None]) -> int:
        """Run the trainings that are handed out, until the command that leads has ended.

        Returns how many. Raises `NobodyLeads`, and `JobFailed`.
        """
        watch, since = _Watch(self.folder), time.monotonic()
        say(f"waiting for the command on {self.meeting.host}, which leads")
        finished = list[_HandedOut]()
        was_led = False
        while True:
            led = watch.is_led()
            since = time.monotonic() if led else since
            if was_led and watch.has_ended:
                return len(finished)
            was_led |= led
            if time.monotonic() - since > PATIENCE_SECONDS:
                raise NobodyLeads(
                    f"no command led the training for {PATIENCE_SECONDS} s",
                    f"run it on {self.meeting.host} too, with the same store, then here again",
                )
            current = watch.handed_out() if led else None
            if current is None or current in finished[-1:]:
                await asyncio.sleep(POLL_SECONDS)
                continue
            say(f"training {current.job.removesuffix('.json')}")
            job = self.folder / current.job
            await run_supervised(trainer_command(job, processes, self.meeting), say)
            watch.is_led()
            finished.append(watch.handed_out() or current)  # by whoever leads now


class _Watch:
    """What a machine that follows sees of the command that leads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: Holder | None = None
        """The first heartbeat that was seen of the newest holder."""
        self.has_ended = False
        """Nobody leads, and nobody was killed while leading."""

    def is_led(self) -> bool:
        """A living process leads; one on another machine lives if its heartbeat goes on."""
        held = holders(self._folder / LEASES).get(LEADER)
        self.has_ended = held is None
        if held is None or held.is_dead:
            return False
        if self._first is None or self._first.token != held.token:
            self._first = held
        return held.is_dead is False or held != self._first

    def handed_out(self) -> _HandedOut | None:
        path = self._folder / HANDED_OUT
        if not path.exists():
            return None
        found = _HandedOut(**documents.read(path))
        return found if self._first and found.token == self._first.token else None
