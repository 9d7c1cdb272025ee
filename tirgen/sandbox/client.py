"""The supervisor's side of one zygote: starts it, submits jobs to it, passes on its reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from typing import Any, Protocol

from tirgen.process import Child
from tirgen.sandbox import kernel
from tirgen.sandbox.cgroups import Cgroup
from tirgen.sandbox.contract import Limits, ZygoteFailed
from tirgen.sandbox.interpreter import ENVIRONMENT, ISOLATED, PACKAGE_ROOT, Interpreter
from tirgen.sandbox.jail import wire
from tirgen.sandbox.job import SnippetJob
from tirgen.sandbox.modes import IsolationMode
from tirgen.sandbox.scratch import Scratches

START_SECONDS = 120.0
PATIENCE_SECONDS = 30.0
"""A zygote is hung that for this long neither forks what it was sent nor reports what has ended."""
WORN_AFTER_SNIPPETS = 50_000
WORN_AFTER_BYTES = 64 << 20
"""A zygote is replaced after this many snippets, or when it has grown by this much."""
WARM_AFTER_SNIPPETS = 16
"""A zygote that started without warming is replaced by a warmed one after this many snippets.

Warming costs about 2.5 CPU-seconds and saves up to 0.3 in a snippet that calls sympy.
"""
WEIGH_EVERY = 500
"""Snippets between two looks at how much a zygote has grown."""
_END_SECONDS = 1.0
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); from tirgen.sandbox.jail import hide, zygote; "
    "hide.hide_file_names(); zygote.main()"
)


class ChildTask(Protocol):
    """The work of one child: a snippet, or the jail of a session. The client reports to it."""

    @property
    def descriptors(self) -> list[int]:
        """What the child gets."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended, even if the zygote has not said so."""
        ...

    def sent(self) -> None: ...
    def started(self, pidfd: int) -> None: ...
    def finished(self, report: wire.Report) -> None: ...
    def failed(self, reason: str) -> None: ...


class ZygoteClient:
    """One zygote, alive until `close` or until its process ends."""

    def __init__(self, mode: str, interpreter: Interpreter, patience: float, warmed: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            control = theirs.fileno()
            self._process = Child(
                [interpreter.executable, *ISOLATED, "-c", _BOOT, PACKAGE_ROOT, str(control)],
                stdout="none",
                env=ENVIRONMENT,
                cwd="/",
                pass_fds=(control,),
            )
        self._control.setblocking(False)
        self._mode = mode
        self._interpreter = interpreter
        self._patience = patience
        self.warmed = warmed
        self._scratches: Scratches | None = None
        if mode == IsolationMode.BARE:
            with contextlib.suppress(OSError):  # no directory can be written here, or not watched
                self._scratches = Scratches()
        self._jobs: dict[int, ChildTask] = {}
        self._unanswered: dict[int, float] = {}
        """When the zygote was asked for something that it has not done, by job."""
        self._next_check: asyncio.TimerHandle | None = None
        self._job_ended = asyncio.Event()
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
        group: Cgroup | None = None,
        warmed: bool = True,
    ) -> ZygoteClient:
        """A zygote that is ready to fork; `warmed` if it shall run the libraries once before.

        Raises:
            ZygoteFailed: this machine does not support the mode, or the start took too long.
        """
        zygote = cls(mode, interpreter, patience, warmed)
        try:
            if group is not None:
                group.adopt(zygote._process.pid)  # it waits for its configuration before it forks
            zygote.hello = await asyncio.wait_for(zygote._configure(), START_SECONDS)
        except (OSError, TimeoutError, ZygoteFailed, asyncio.CancelledError) as error:
            await zygote.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise ZygoteFailed(str(error) or f"no answer in {START_SECONDS:.0f} s") from error
        zygote._loop.add_reader(zygote._control, zygote._receive)
        zygote._first_weight = zygote._weigh()
        return zygote

    async def _configure(self) -> dict[str, Any]:
        config = {
            "mode": self._mode,
            "readable": self._interpreter.readable,
            "site": self._interpreter.site,
            "preload": self._interpreter.preload,
            "warmed": self.warmed,
        }
        await self._loop.sock_sendall(self._control, json.dumps(config).encode())
        answer = await self._loop.sock_recv(self._control, wire.MAX_MESSAGE)
        if not answer:
            raise ZygoteFailed(self._process.last_line())
        hello: dict[str, Any] = json.loads(answer)
        if "error" in hello:
            raise ZygoteFailed(hello["error"])
        has_scratch = self._mode != IsolationMode.BARE or self._scratches is not None
        return {**hello, "scratch": has_scratch}

    @property
    def resident_bytes(self) -> int:
        """The zygote's own memory, which every child starts with."""
        return int(self.hello["resident_kb"]) << 10

    @property
    def load(self) -> int:
        return len(self._jobs)

    async def drained(self) -> None:
        """Return when no job is left."""
        while self._jobs:
            self._job_ended.clear()
            await self._job_ended.wait()

    def run(
        self,
        code: str,
        limits: Limits,
        stdin: int | None = None,
        peers: list[SnippetJob] | None = None,
    ) -> SnippetJob:
        """Fork one child for this code; `stdin` and `peers` as in `SnippetJob`."""
        job = SnippetJob(code, limits, stdin, peers, self._scratches)
        self.submit(job, limits.cpu_seconds, limits.memory_mb)
        return job

    def submit(
        self, job: ChildTask, cpu_seconds: float, memory_mb: int, session: bool = False
    ) -> None:
        """Have one child forked that gets the job's descriptors; its reports go to the job."""
        self._next_id += 1
        request = wire.Request(self._next_id, cpu_seconds, memory_mb << 20, session)
        try:
            socket.send_fds(self._control, [request.pack()], job.descriptors)
        except OSError as error:
            if isinstance(error, ConnectionError):
                self._died()  # now, not when the event loop notices: the retry needs another one
            job.failed(f"the zygote is gone: {error}")
            return
        job.sent()
        self._jobs[request.id] = job
        self._unanswered[request.id] = self._loop.time()
        if self._next_check is None:
            self._next_check = self._loop.call_later(self._patience / 3, self._check_answers)
        if self._next_id % WEIGH_EVERY == 0 or self._next_id == WARM_AFTER_SNIPPETS:
            self._check_wear()

    def _receive(self) -> None:
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
            case wire.ReportKind.STARTED:
                self._unanswered.pop(report.id, None)
                self._jobs[report.id].started(fds[0])
            case wire.ReportKind.EXITED:
                self._jobs.pop(report.id).finished(report)
                self._job_ended.set()
            case wire.ReportKind.NOT_FORKED:
                self._jobs.pop(report.id).failed(f"fork: {os.strerror(report.status)}")
                self._job_ended.set()

    def _check_answers(self) -> None:
        """Kill a zygote that has not answered for too long: its jobs may be run again."""
        now = self._loop.time()
        for number, job in self._jobs.items():
            if job.has_ended:
                self._unanswered.setdefault(number, now)
        self._unanswered = {n: since for n, since in self._unanswered.items() if n in self._jobs}
        self._next_check = None
        if any(now - since > self._patience for since in self._unanswered.values()):
            self._process.kill()
            self._died(f"the zygote gave no answer for {self._patience:.0f} s")
        elif self._jobs:
            self._next_check = self._loop.call_later(self._patience / 3, self._check_answers)

    def _check_wear(self) -> None:
        grown = (self._weigh() or 0) - (self._first_weight or 0)
        most = WORN_AFTER_SNIPPETS if self.warmed else WARM_AFTER_SNIPPETS
        self.is_worn = self._next_id >= most or grown > WORN_AFTER_BYTES

    def _weigh(self) -> int | None:
        """Bytes resident in the zygote; None where /proc does not say."""
        try:
            # with namespaces, the process we started stays outside them
            bare = self._mode == IsolationMode.BARE
            pid = self._process.pid if bare else kernel.only_child(self._process.pid)
            return kernel.resident_bytes(pid)
        except OSError:
            return None

    def _died(self, reason: str | None = None) -> None:
        self.alive = False
        self._loop.remove_reader(self._control)
        if self._next_check is not None:
            self._next_check.cancel()
        jobs, self._jobs = self._jobs, {}
        reason = reason or f"the zygote died: {self._process.last_line()}"
        for job in jobs.values():
            job.failed(reason)
        self._job_ended.set()

    async def close(self) -> None:
        """End the zygote and with it every snippet it forked."""
        if self.alive:
            self._died()
        self._control.close()
        try:
            await asyncio.to_thread(self._process.end, _END_SECONDS)
        finally:
            if self._scratches is not None:
                self._scratches.close()
