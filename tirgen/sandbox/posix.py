"""The mode `posix`: a fresh interpreter per snippet with resource limits, and nothing more.

For development on machines other than Linux. It bounds time, memory and output; it does NOT keep a
snippet from files, network, or other processes of your user. It must be asked for by name.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time

from tirgen.process import signal_group, start
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.interpreter import ENVIRONMENT, ISOLATED, PACKAGE_ROOT, Interpreter
from tirgen.sandbox.jail import wire
from tirgen.sandbox.outcome import MOST_OUTPUT, Stop
from tirgen.sandbox.result import HeadAndTail, JobResult

_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from tirgen.sandbox.jail.posix_child import main; main()"
)
_TICK_SECONDS = 0.02


async def execute(
    code: str, limits: Limits, interpreter: Interpreter, stdin: int | None = None
) -> JobResult:
    """Run `code` in a process group of its own; cancelling kills the group.

    `stdin` is a descriptor for its input, which this function closes.
    """
    abandoned = threading.Event()
    work = asyncio.create_task(
        asyncio.to_thread(_execute, code, limits, interpreter, stdin, abandoned)
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        abandoned.set()
        await asyncio.wait([work])
        raise


def _execute(
    code: str,
    limits: Limits,
    interpreter: Interpreter,
    stdin: int | None,
    abandoned: threading.Event,
) -> JobResult:
    with tempfile.TemporaryDirectory(prefix="tirgen-") as scratch:
        ready, theirs = os.pipe()
        if stdin is None:
            stdin = os.open(os.devnull, os.O_RDONLY)
        try:
            process = _spawn(code, limits, interpreter, scratch, theirs, stdin)
        finally:
            os.close(theirs)
            os.close(stdin)
        try:
            return _watch(process, limits, ready, abandoned)
        finally:
            os.close(ready)


def _spawn(
    code: str, limits: Limits, interpreter: Interpreter, scratch: str, ready: int, stdin: int
) -> subprocess.Popen[bytes]:
    config = {
        "site": interpreter.site,
        "memory_bytes": limits.memory_mb << 20,
        "cpu_seconds": limits.cpu_seconds,
        "ready": ready,
        "stdin": stdin,
    }
    with tempfile.TemporaryFile() as source:
        source.write(code.encode(errors="surrogatepass"))
        source.seek(0)
        return start(
            [interpreter.executable, *ISOLATED, "-c", _BOOT, PACKAGE_ROOT, json.dumps(config)],
            env=ENVIRONMENT,
            cwd=scratch,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(ready, stdin),
        )


def _watch(
    process: subprocess.Popen[bytes], limits: Limits, ready: int, abandoned: threading.Event
) -> JobResult:
    """Read its output until the process itself ends; then kill what it left behind."""
    started = time.monotonic()
    streams = [HeadAndTail(limits.output_bytes), HeadAndTail(limits.output_bytes)]
    stopped: Stop | None = None
    with selectors.DefaultSelector() as selector:
        for pipe, stream in zip((process.stdout, process.stderr), streams, strict=True):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, stream)
        while True:
            _drain(selector, _TICK_SECONDS)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            reason = _reason_to_stop(started, limits, streams, abandoned)
            if reason is not None and stopped is None:
                stopped = reason
                signal_group(process.pid, signal.SIGKILL)
        wall = time.monotonic() - started
        signal_group(process.pid, signal.SIGKILL)
        _drain(selector, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()
    report = wire.Report(
        wire.ReportKind.EXITED,
        0,
        status,
        wall,
        usage.ru_utime + usage.ru_stime,
        _kilobytes(usage.ru_maxrss),
    )
    return JobResult(report, os.read(ready, 64), stopped, *streams)


def _drain(selector: selectors.BaseSelector, timeout: float) -> None:
    for key, _ in selector.select(timeout):
        data = os.read(key.fd, 1 << 16)
        if data:
            key.data.feed(data)
        else:
            selector.unregister(key.fileobj)


def _reason_to_stop(
    started: float, limits: Limits, streams: list[HeadAndTail], abandoned: threading.Event
) -> Stop | None:
    if abandoned.is_set():
        return Stop.CANCELLED
    if time.monotonic() - started > limits.wall_seconds:
        return Stop.TIMEOUT
    if any(stream.total > MOST_OUTPUT for stream in streams):
        return Stop.OUTPUT
    return None


def _kilobytes(maxrss: int) -> int:
    return maxrss >> 10 if sys.platform == "darwin" else maxrss
