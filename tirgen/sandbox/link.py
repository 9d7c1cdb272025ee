"""The supervisor's end of one zygote: starts it, hands it snippets, hears what the kernel said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import tempfile
from typing import Any, Protocol

from tirgen.sandbox import kernel
from tirgen.sandbox.cgroups import Group
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.errors import ZygoteFailed
from tirgen.sandbox.flight import Flight
from tirgen.sandbox.interpreter import ENVIRONMENT, ISOLATED, PACKAGE_ROOT, Interpreter
from tirgen.sandbox.jail import wire
from tirgen.sandbox.modes import Mode
from tirgen.sandbox.scratch import Scratches

START_SECONDS = 120.0
PATIENCE_SECONDS = 30.0
"""A zygote that for so long neither forks what it was sent nor reports what has ended is hung."""
WORN_AFTER_SNIPPETS = 50_000
WORN_AFTER_BYTES = 64 << 20
"""A zygote is replaced after so many snippets, or when it has grown by so much."""
_WEIGH_EVERY = 500
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); from tirgen.sandbox.jail import nameless, zygote; "
    "nameless.forget_our_files(); zygote.main()"
)


class Passenger(Protocol):
    """What hears of one child: a snippet's flight or a session's jail."""

    @property
    def descriptors(self) -> list[int]: ...
    @property
    def is_gone(self) -> bool:
        """Its process has ended, whether or not the zygote has said so."""
        ...

    def handed_over(self) -> None: ...
    def started(self, pidfd: int) -> None: ...
    def landed(self, report: wire.Report) -> None: ...
    def lost(self, reason: str) -> None: ...


class Link:
    """One zygote, alive until `close` or until the process behind it ends."""

    def __init__(self, mode: str, interpreter: Interpreter, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the link
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = _spawn(interpreter.executable, theirs.fileno(), self._stderr.fileno())
        self._control.setblocking(False)
        self._mode = mode
        self._interpreter = interpreter
        self._patience = patience
        self._scratches: Scratches | None = None
        if mode == Mode.BARE:
            with contextlib.suppress(OSError):  # nothing may be written here, or not be watched
                self._scratches = Scratches()
        self._flights: dict[int, Passenger] = {}
        self._overdue: dict[int, float] = {}
        """Since when the zygote owes a word about a flight."""
        self._patrol: asyncio.TimerHandle | None = None
        self._landing = asyncio.Event()
        self._next_id = 0
        self._first_weight: int | None = None
        self.is_worn = False
        """It has served long enough to be replaced at the next occasion."""
        self.alive = True
        self.hello: dict[str, Any] = {}
        """What the zygote found when it prepared itself."""

    @classmethod
    async def start(
        cls,
        mode: str,
        interpreter: Interpreter,
        patience: float = PATIENCE_SECONDS,
        group: Group | None = None,
    ) -> Link:
        """A zygote ready to fork.

        Raises:
            ZygoteFailed: this machine does not support the mode, or the start took too long.
        """
        link = cls(mode, interpreter, patience)
        try:
            if group is not None:
                group.adopt(link._process.pid)  # before it forks: it waits for its configuration
            link.hello = await asyncio.wait_for(link._greet(), START_SECONDS)
        except (OSError, TimeoutError, ZygoteFailed, asyncio.CancelledError) as error:
            await link.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise ZygoteFailed(str(error) or f"no answer in {START_SECONDS:.0f} s") from error
        link._loop.add_reader(link._control, link._hear)
        link._first_weight = link._weigh()
        return link

    async def _greet(self) -> dict[str, Any]:
        config = {
            "mode": self._mode,
            "readable": self._interpreter.readable,
            "site": self._interpreter.site,
            "preload": self._interpreter.preload,
        }
        await self._loop.sock_sendall(self._control, json.dumps(config).encode())
        answer = await self._loop.sock_recv(self._control, wire.MAX_MESSAGE)
        if not answer:
            raise ZygoteFailed(self._last_words())
        hello: dict[str, Any] = json.loads(answer)
        if "error" in hello:
            raise ZygoteFailed(hello["error"])
        has_scratch = self._mode != Mode.BARE or self._scratches is not None
        return {**hello, "scratch": has_scratch}

    @property
    def resident_bytes(self) -> int:
        """The zygote's own memory, which every child starts with."""
        return int(self.hello["resident_kb"]) << 10

    @property
    def load(self) -> int:
        return len(self._flights)

    async def drained(self) -> None:
        """Return when nothing is aboard any more."""
        while self._flights:
            self._landing.clear()
            await self._landing.wait()

    def launch(
        self,
        code: str,
        limits: Limits,
        stdin: int | None = None,
        crew: list[Flight] | None = None,
    ) -> Flight:
        """Have one child forked for this code; stdin and crew are those of `Flight`."""
        flight = Flight(code, limits, stdin, crew, self._scratches)
        self.board(flight, limits.cpu_seconds, limits.memory_mb)
        return flight

    def board(
        self, flight: Passenger, cpu_seconds: float, memory_mb: int, session: bool = False
    ) -> None:
        """Have one child forked that `flight` holds the descriptors of and will hear about."""
        self._next_id += 1
        request = wire.Request(self._next_id, cpu_seconds, memory_mb << 20, session)
        try:
            socket.send_fds(self._control, [request.pack()], flight.descriptors)
        except OSError as error:
            if isinstance(error, ConnectionError):
                self._died()  # before the event loop has told us: the next attempt needs another
            flight.lost(f"the zygote is gone: {error}")
            return
        flight.handed_over()
        self._flights[request.id] = flight
        self._overdue[request.id] = self._loop.time()
        if self._patrol is None:
            self._patrol = self._loop.call_later(self._patience / 3, self._look_after)
        if self._next_id % _WEIGH_EVERY == 0:
            self._grow_older()

    def _hear(self) -> None:
        """Take one message from the zygote; the event loop comes back while there are more."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, wire.MAX_MESSAGE, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._died()
            return
        report = wire.Report.unpack(data)
        match report.kind:
            case wire.Kind.STARTED:
                self._overdue.pop(report.id, None)
                self._flights[report.id].started(fds[0])
            case wire.Kind.EXITED:
                self._flights.pop(report.id).landed(report)
                self._landing.set()
            case wire.Kind.NOT_FORKED:
                self._flights.pop(report.id).lost(f"fork: {os.strerror(report.status)}")
                self._landing.set()

    def _look_after(self) -> None:
        """End a zygote that owes us a word for too long: what it had aboard may be run again."""
        now = self._loop.time()
        for number, flight in self._flights.items():
            if flight.is_gone:
                self._overdue.setdefault(number, now)
        self._overdue = {n: since for n, since in self._overdue.items() if n in self._flights}
        self._patrol = None
        if any(now - since > self._patience for since in self._overdue.values()):
            self._process.kill()
            self._died(f"the zygote gave no answer for {self._patience:.0f} s")
        elif self._flights:
            self._patrol = self._loop.call_later(self._patience / 3, self._look_after)

    def _grow_older(self) -> None:
        weight = self._weigh()
        grown = (weight or 0) - (self._first_weight or 0)
        self.is_worn = self._next_id >= WORN_AFTER_SNIPPETS or grown > WORN_AFTER_BYTES

    def _weigh(self) -> int | None:
        """Bytes resident in the zygote; None where /proc does not tell."""
        try:
            # where there are namespaces, what we started stays outside them
            bare = self._mode == Mode.BARE
            pid = self._process.pid if bare else kernel.only_child(self._process.pid)
            return kernel.resident_bytes(pid)
        except OSError:
            return None

    def _died(self, reason: str | None = None) -> None:
        self.alive = False
        self._loop.remove_reader(self._control)
        if self._patrol is not None:
            self._patrol.cancel()
        flights, self._flights = self._flights, {}
        reason = reason or f"the zygote died: {self._last_words()}"
        for flight in flights.values():
            flight.lost(reason)
        self._landing.set()

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read()[-4096:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    async def close(self) -> None:
        """End the zygote and with it every snippet it forked."""
        if self.alive:
            self._died()
        self._control.close()
        try:
            await asyncio.to_thread(_end, self._process)
        finally:
            self._stderr.close()
            if self._scratches is not None:
                self._scratches.close()


def _spawn(executable: str, control: int, stderr: int) -> subprocess.Popen[bytes]:
    """Started from this very thread, whose end it does not survive; no descriptor but these."""
    return subprocess.Popen(
        [executable, *ISOLATED, "-c", _BOOT, PACKAGE_ROOT, str(control)],
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=(control,),
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=1.0)  # it leaves by itself when the control socket closes
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
