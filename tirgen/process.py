"""One supervised child process: started, read, waited for, and ended with all that it started.

How a child learns that its parent is gone, even after kill -9: its standard input is a pipe whose
other end only the parent holds, so that input ends; and on Linux the kernel sends it a signal. A
child written in Python calls `end_with_parent`. Any other command runs under `tirgen.guardian`
(`Child(..., guarded=True)`), which ends the command's whole tree.

Each child leads a session of its own, so Ctrl-C in a terminal reaches the parent alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Final, Literal

import psutil

LONGEST_LINE = 1 << 20
"""Bytes in one line of a child's output."""
GRACE_SECONDS = 10.0
"""How long a child may take to end by itself before it is killed."""
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG: Final = 1
"""From linux/prctl.h."""

Output = Literal["pipe", "log", "inherit", "none"]
"""Where a stream of a child goes: to the parent, into a temporary file that error messages quote,
to the parent's own stream, or nowhere."""


class ChildLost(Exception):
    """The child ended or did not answer in time; the message says which, to follow its name."""


class Child:
    """A child process. It ends at the latest when this process ends."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: Output = "log",
        stderr: Output = "log",
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        pass_fds: Sequence[int] = (),
        guarded: bool = False,
    ) -> None:
        """Start `command`; with `guarded`, under `tirgen.guardian`. Raises OSError."""
        self._unread = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        targets: dict[Output, int | IO[bytes] | None] = {
            "pipe": subprocess.PIPE,
            "log": self._log,
            "inherit": None,
            "none": subprocess.DEVNULL,
        }
        guardian = [sys.executable, "-m", "tirgen.guardian"] if guarded else []
        try:
            self._process = start(
                [*guardian, *command],
                stdin=subprocess.PIPE,
                stdout=targets[stdout],
                stderr=targets[stderr],
                env=env,
                cwd=cwd,
                pass_fds=pass_fds,
            )
        except OSError:
            self._log.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def stdout(self) -> IO[bytes]:
        """Its output, where that is a pipe."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """Its messages, where they are a pipe."""
        assert self._process.stderr is not None
        return self._process.stderr

    def write(self, data: bytes) -> None:
        """To its standard input. Raises ChildLost."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ChildLost(self.why_ended()) from error

    def read_line(self, seconds: float) -> bytes:
        """The next line of its output, without its end, within `seconds`. Raises ChildLost."""
        poll = select.poll()
        poll.register(self.stdout, select.POLLIN | select.POLLHUP)
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ChildLost(f"gave no answer for {seconds:.0f} s")
            data = os.read(self.stdout.fileno(), 1 << 16)
            if not data:
                raise ChildLost(self.why_ended())
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    async def lines(self, pipe: IO[bytes]) -> AsyncGenerator[str, None]:
        """Every line of `stdout` or `stderr` until it ends."""
        import asyncio  # here, because the guardian starts sooner without it

        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async for line in reader:
                yield line.decode(errors="replace").rstrip()
        finally:
            transport.close()

    def wait_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Return once `ready()` is true. Raises ChildLost where it ends first or takes longer."""
        if not wait_until(lambda: ready() or not self.alive, seconds):
            raise ChildLost(f"was not ready within {seconds:.0f} s")
        if not self.alive:
            raise ChildLost(self.why_ended())

    def wait(self) -> int:
        """Its exit status once it has ended; negative for a signal."""
        return self._process.wait()

    def said(self, most: int = 2000) -> str:
        """The last `most` characters of its log."""
        end = self._log.seek(0, os.SEEK_END)
        data = os.pread(self._log.fileno(), 4 * most, max(0, end - 4 * most))
        return data.decode(errors="replace").strip()[-most:]

    def how_ended(self) -> str:
        """How it ended, to follow its name; waits a second for its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        status = self._process.returncode
        if status is None:
            return "closed its output"
        if status < 0:
            return f"was ended by signal {-status} ({signal.strsignal(-status)})"
        return f"ended with exit code {status}"

    def why_ended(self) -> str:
        """How it ended, and the last line of its log."""
        return f"{self.how_ended()}: {self.last_line()}"

    def last_line(self) -> str:
        """Of its log, for error messages."""
        return (self.said().splitlines() or ["it printed no message"])[-1]

    def kill(self) -> None:
        """Kill it at once; a thread that waits for its answer gets ChildLost."""
        self._process.kill()

    def end(self, grace: float = GRACE_SECONDS) -> int:
        """End it and all that it started, and return its exit status.

        Its input is closed and SIGTERM sent; after `grace` seconds whatever is left is killed. Not
        covered: what a child left behind that ended by itself earlier, unless it was `guarded`.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self.alive:
            end_tree(self.pid, grace, lambda: not self.alive)
        status = self._process.wait()
        for stream in (self._process.stdout, self._process.stderr, self._log):
            if stream is not None:
                stream.close()
        return status


def end_tree(leader: int, grace: float, ended: Callable[[], bool]) -> None:
    """End the leader of a process group and all its descendants.

    SIGTERM to the group, and after `grace` seconds SIGKILL to whatever is left. `ended` says
    whether the leader has.
    """
    family = descendants(leader)
    signal_group(leader, signal.SIGTERM)
    wait_until(lambda: ended() and not any(map(_is_running, family)), grace)
    family += descendants(leader)
    if not ended():
        signal_group(leader, signal.SIGKILL)
    signal_all(family, signal.SIGKILL)


def descendants(root: int) -> list[psutil.Process]:
    """All running processes below one."""
    try:
        return [one for one in psutil.Process(root).children(recursive=True) if _is_running(one)]
    except psutil.NoSuchProcess:
        return []


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those that still run; a process id used a second time is not hit."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def start_time(pid: int) -> int | None:
    """When a process started, in hundredths of a second since the machine did; None once it ended.

    Together with the process id it identifies one process: ids are used again, and the wall clock
    can change.
    """
    try:
        process = psutil.Process(pid)
        if not _is_running(process):
            return None
        seconds: float = process.create_time() - psutil.boot_time()
        return round(100 * seconds)
    except psutil.NoSuchProcess:
        return None


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _is_running(process: psutil.Process) -> bool:
    """Not ended; a process that only waits for its parent to read its status has."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to all processes of a group, if there are any."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


def end_with_parent() -> None:
    """In a child: send SIGTERM to this process when its parent ends or closes our standard input.

    On Linux the kernel does it too, for a fork of the parent may keep that input open.
    """
    signal_at_parents_end(signal.SIGTERM)
    threading.Thread(target=_wait_for_end_of_input, name="parent-watch", daemon=True).start()


def signal_at_parents_end(number: signal.Signals) -> None:
    """In a child, on Linux: have the kernel send this signal when the parent ends.

    Strictly, when the thread ends that started the child: see `start`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _wait_for_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class _LastingThread:
    """Runs calls in one thread, which ends only with the process."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_running = False

    def call(self, function: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if not self._is_running:
                threading.Thread(target=self._run, name="starts-children", daemon=True).start()
                self._is_running = True
        done: Future[subprocess.Popen[bytes]] = Future()
        self._calls.put((function, done))
        return done.result()

    def _run(self) -> None:
        while True:
            function, done = self._calls.get()
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that asked
                done.set_exception(error)
            del function, done  # the thread that asked is the only owner of the process


_starter = _LastingThread()


def _replace_starter() -> None:
    """A fork has none of its parent's threads."""
    global _starter
    _starter = _LastingThread()


os.register_at_fork(after_in_child=_replace_starter)


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen` in a session of its own, from a thread that lasts as long as this process.

    Linux sends a child its parent's death signal when the *thread* that started it ends. Started
    from a worker thread, a child would end with that thread. Raises OSError.
    """
    return _starter.call(lambda: subprocess.Popen(command, start_new_session=True, **options))
