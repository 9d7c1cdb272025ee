import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.modes import IsolationMode

T = TypeVar("T")
Run = Callable[..., Execution]

IS_ROOT = os.geteuid() == 0
JAILS = ["root", "userns as nobody", "bare as nobody"] if IS_ROOT else ["userns", "bare"]
"""Every mode this machine has: what root would use, and what an unprivileged user would."""

CANARY = "canary-8c1f"
PRELUDE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def forbidden(name, action, *args):
    try:
        result = action(*args)
    except (OSError, MemoryError, ValueError):
        return
    print("breach:", name, result)

def raw(number, *args):
    result = libc.syscall(number, *args)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""


def limits(**changes: Any) -> Limits:
    """The tests' own: short, so that an attack on time costs little of it."""
    return Limits(**{"cpu_seconds": 4, "wall_seconds": 8, "memory_mb": 256, **changes})


@contextlib.contextmanager
def held_here(mode: str) -> Iterator[Run]:
    """A sandbox of this process, on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(120)

    sandbox = LocalSandbox(mode=IsolationMode(mode))
    try:
        wait(sandbox.__aenter__())
        try:
            yield lambda code, **changes: wait(sandbox.run(code, limits(**changes)))
        finally:
            wait(sandbox.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def held_by_nobody(mode: str) -> Iterator[Run]:
    """A sandbox of an unprivileged user's process."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("unprivileged.py")), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline(), "the unprivileged sandbox did not start"

        def run(code: str, **changes: float) -> Execution:
            request = {"code": code, "limits": {**limits_dict(**changes)}}
            assert process.stdout is not None
            print(json.dumps(request), file=process.stdin, flush=True)
            answer = json.loads(process.stdout.readline())
            return Execution(**{**answer, "outcome": Outcome(answer["outcome"])})

        yield run
        process.stdin.close()


def limits_dict(**changes: float) -> dict[str, float]:
    chosen = limits(**changes)
    return {name: getattr(chosen, name) for name in Limits.__dataclass_fields__}


@pytest.fixture(scope="session", params=JAILS)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs one snippet in each jail of this machine in turn."""
    os.environ["TIRGEN_CANARY"] = CANARY
    mode, _, nobody = request.param.partition(" as ")
    with held_by_nobody(mode) if nobody else held_here(mode) as run:
        yield run


@pytest.fixture(scope="session")
def holds(run: Run) -> Callable[..., None]:
    """Asserts that every `forbidden` attempt in the snippet failed and that it ran to its end."""

    def check(code: str, **values: object) -> None:
        assignments = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        execution = run(f"{PRELUDE}{assignments}{code}\nprint('held')")
        assert (execution.stdout, execution.outcome) == ("held\n", Outcome.OK), execution

    return check


@pytest.fixture(scope="session")
def is_bare(request: pytest.FixtureRequest, run: Run) -> bool:
    return run("import os; print(os.getcwd())").stdout != "/jail/scratch\n"


@pytest.fixture
def victim(run: Run) -> Iterator[subprocess.Popen[bytes]]:
    """A process outside, of the same user as the snippets' supervisor, that must live on."""
    user = 65_534 if IS_ROOT else None
    process = subprocess.Popen(["/bin/sleep", "60"], user=user)
    yield process
    alive = process.poll() is None
    process.kill()
    process.wait()
    assert alive
