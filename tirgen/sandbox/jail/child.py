"""The process of one snippet: build the jail around itself, report it, run the snippet, end.

The order of the layers matters: mounts need privileges, the private user gives them up, Landlock
and seccomp come last because they forbid what the earlier steps do.
"""

from __future__ import annotations

import codecs
import gc
import os
import signal
from dataclasses import dataclass

from tirgen.sandbox.jail import landlock, libc, limits, namespaces, runner, wire
from tirgen.sandbox.jail.limits import MemoryBaseline
from tirgen.sandbox.jail.seccomp import Filter

_os_exit = os._exit


@dataclass(frozen=True, slots=True)
class Jail:
    """What the zygote prepared once; each child applies it to itself."""

    mode: str
    """``root``, ``userns`` or ``bare``."""
    baseline: MemoryBaseline
    readable: list[str]
    """What Landlock lets every child read."""
    ruleset_fd: int
    snippet_filter: Filter
    session_filter: Filter
    zygote_pid: int
    """As its children see it: 0 from inside another pid namespace."""

    @property
    def namespaced(self) -> bool:
        return self.mode in ("root", "userns")

    def close(self, request: wire.Request, scratch: int | None = None) -> None:
        """Apply every layer but seccomp, which comes last and is left to the caller.

        `scratch` is the child's own directory, in the mode that mounts none.

        Raises:
            OSError: a layer refused; the snippet must not run.
        """
        if self.namespaced:
            namespaces.mount_scratch()
        if self.mode == "root":
            namespaces.become_private_user()
        else:
            libc.drop_capabilities()
        # after the change of identity, which would clear it
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.zygote_pid:
            raise OSError("the zygote died")
        limits.apply(self.baseline, request.memory_bytes, request.cpu_seconds)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        ruleset = self.ruleset_fd if scratch is None else self._enter(scratch)
        landlock.restrict(ruleset)
        os.close(ruleset)

    def _enter(self, scratch: int) -> int:
        """Work in this directory; returns a ruleset that opens it to this process alone."""
        os.fchdir(scratch)
        os.close(scratch)
        os.close(self.ruleset_fd)
        # The supervisor can read how much it writes only if the process is dumpable. Other
        # snippets cannot read it: each has its own Landlock domain.
        libc.prctl(libc.PR_SET_DUMPABLE, 1)
        return landlock.ruleset(self.readable, [os.curdir], [os.devnull])


def run_snippet(jail: Jail, request: wire.Request, fds: list[int]) -> None:
    """Become the snippet. Never returns: a child must not go on in the zygote's loop."""
    status = wire.JAIL_FAILED_STATUS
    try:
        source = _take_descriptors(jail, fds)
        _, _, _, ready, _, *scratch = fds
        try:
            jail.close(request, *scratch)
            jail.snippet_filter.install()
        except OSError as error:
            os.write(ready, f"the jail could not be built: {error}".encode())
            _os_exit(wire.JAIL_FAILED_STATUS)
        gc.enable()
        os.write(ready, wire.READY)
        os.close(ready)
        status = 1
        status = runner.run(source)
        runner.exit_process(status)
    finally:
        _os_exit(status)


def _take_descriptors(jail: Jail, fds: list[int]) -> str:
    """Keep only 0, 1, 2, ready pipe, ruleset and scratch open; returns the code as text."""
    code, out, err, ready, stdin, *scratch = fds
    source = read_source(code)
    for fd, target in ((stdin, 0), (out, 1), (err, 2)):
        os.dup2(fd, target, inheritable=False)
    keep_only(ready, jail.ruleset_fd, *scratch)
    return source


def read_source(fd: int) -> str:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    # not the codec utf-8-sig: each child would have to import it
    return data.removeprefix(codecs.BOM_UTF8).decode(errors="replace")


def keep_only(*fds: int) -> None:
    """Close every descriptor except 0, 1, 2 and these."""
    first = 3
    for keep in sorted(fds):
        os.closerange(first, keep)
        first = keep + 1
    os.closerange(first, 1 << 30)
