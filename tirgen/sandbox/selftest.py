"""The self-test of a mode: real attempts to break out, and harmless code that must work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from storage.records import Outcome
from tirgen.sandbox.contract import Execution, Limits

Run = Callable[[str, Limits], Awaitable[Execution]]

_LIMITS = Limits(cpu_seconds=10, wall_seconds=20, memory_mb=256)

ESCAPES = """
import ctypes, os, socket

def attempt(name, action):
    try:
        action()
    except (OSError, MemoryError):
        return
    print("escaped:", name)

def fork():
    if os.fork() == 0:
        os._exit(0)

def fork_raw():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fork() == 0:
        os._exit(0)
    if ctypes.get_errno():
        raise OSError(ctypes.get_errno(), "fork")

attempt("network", lambda: socket.socket())
attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("fork", fork)
attempt("fork through libc", fork_raw)
attempt("foreign file", lambda: open("/etc/passwd").read())
attempt("root listing", lambda: os.listdir("/"))
def write_outside():
    open("/var/tmp/tirgen-selftest", "w").close()
    os.remove("/var/tmp/tirgen-selftest")

attempt("write outside", write_outside)
attempt("write to the library", lambda: open(os.__file__, "a").close())
attempt("signal everybody", lambda: os.kill(-1, 0))
attempt("signal the parent", lambda: os.kill(os.getppid() or 1 << 22, 0))
attempt("process list", lambda: os.listdir("/proc"))
attempt("environment of others", lambda: open("/proc/1/environ").read())
attempt("memory", lambda: bytearray(1 << 30))
attempt("descriptor 3", lambda: os.fstat(3))
if os.environ:
    print("escaped: environment")
attempt("program", lambda: os.execv("/bin/true", ["true"]))
print("done")
"""

_WORKS = "import sympy; print(sympy.factorint(2**32 - 1))"
_WORKS_WITHOUT_SYMPY = "print(6 * 7)"


async def problems(run: Run, has_sympy: bool) -> list[str]:
    """What this sandbox fails to do or to prevent; empty if the mode may be used."""
    found = await _escapes(run)
    code = _WORKS if has_sympy else _WORKS_WITHOUT_SYMPY
    works = await run(code, _LIMITS)
    if works.outcome is not Outcome.OK:
        found.append(f"a harmless snippet ended as {works.outcome}: {works.stderr.strip()[-200:]}")
    endless = await run("while True: pass", Limits(cpu_seconds=0.1, wall_seconds=5))
    if endless.outcome is not Outcome.TIMEOUT:
        found.append(f"an endless loop ended as {endless.outcome}")
    return found


async def _escapes(run: Run) -> list[str]:
    execution = await run(ESCAPES, _LIMITS)
    lines = execution.stdout.splitlines()
    found = [line for line in lines if line.startswith("escaped:")]
    if not lines or lines[-1] != "done":
        found.append(f"the escape probe ended as {execution.outcome}: {execution.stderr[-200:]}")
    return found
